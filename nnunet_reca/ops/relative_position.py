"""Relative-position index: which row of a bias table belongs to a pair of tokens in a window."""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

IndexScheme = Literal["exact", "cropped", "nnformer"]
SCHEMES = get_args(IndexScheme)  # here, because older compilers of PyTorch cannot look into it


def bias_table_rows(window: Sequence[int]) -> int:
    """Rows of the bias table of a window: one for each of its prod(2w - 1) relative offsets."""
    return math.prod(2 * w - 1 for w in window)


def relative_position_index(
    window: Sequence[int],
    table_window: Sequence[int] | None = None,
    *,
    scheme: IndexScheme = "exact",
    device: torch.device | None = None,
) -> Tensor:
    """Row of the bias table for every (query, key) pair of a window, (N, N), int64.

    The row of offset ``o = query - key`` is its row-major rank among the offsets of ``table_window`` (Swin
    Transformer, Liu et al. 2021, section 3.2).

    Args:
        window: window in use; tokens are numbered in row-major order.
        table_window: window that the table was made for, at least as large on each axis; default ``window``.
        scheme: "exact"; or one of two published quirks.
            # as published: "cropped" takes the upper left corner ``index[:N, :N]`` of the full window's index for a
            shrunk one (SwinUNETR, MONAI), which pairs most tokens with another offset's row unless only the first
            axis shrank.
            # as published: "nnformer" ranks 3D offsets with factors 3w - 1 and 2w - 1 (w: second side of the window)
            instead of (2w - 1)^2 and 2w - 1, so that many offsets share a row (nnFormer).
        device: where to put the index.

    Raises:
        ValueError: if the window does not fit into the table, or "nnformer" is asked for outside 3D.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"expected an index scheme of {SCHEMES}, got {scheme!r}")
    table_window = window if table_window is None else table_window
    if len(window) != len(table_window) or any(w > t for w, t in zip(window, table_window, strict=True)):
        raise ValueError(
            f"expected a window no larger than the bias table's {tuple(table_window)}, got {tuple(window)}; "
            "build the attention with the larger window"
        )
    if scheme == "nnformer" and len(window) != 3:
        raise ValueError(f"expected a 3D window for the nnformer index, got {tuple(window)}; use scheme='exact'")
    if scheme == "cropped":
        n = math.prod(window)
        return relative_position_index(table_window, device=device)[:n, :n]
    rows = [math.prod([2 * t - 1 for t in table_window[axis + 1 :]]) for axis in range(len(table_window))]
    if scheme == "nnformer":
        rows = [3 * table_window[1] - 1, 2 * table_window[1] - 1, 1]
    axes = [torch.arange(w, device=device) for w in window]
    coordinates = torch.stack([c.flatten() for c in torch.meshgrid(*axes, indexing="ij")])
    index = torch.zeros(1, 1, dtype=torch.int64, device=device)
    for c, t, row in zip(coordinates, table_window, rows, strict=True):
        index = index + row * (c[:, None] - c[None, :] + t - 1)
    return index

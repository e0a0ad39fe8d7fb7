"""Windows of a token map: fit, pad, shift, partition, merge, and who may attend to whom after a shift.

Token maps are (B, *spatial, C) with any number of spatial axes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Size = tuple[int, ...]


def fit_windows(spatial: Sequence[int], window: Sequence[int], shift: Sequence[int]) -> tuple[Size, Size]:
    """Shrink the window to the map, per axis, and drop the shift where one window covers the axis.

    Args:
        spatial: size of the token map.
        window: wanted window size.
        shift: wanted shift.

    Returns:
        Window and shift to use.
    """
    window_used = tuple(min(s, w) for s, w in zip(spatial, window, strict=True))
    shift_used = tuple(0 if s <= w else d for s, w, d in zip(spatial, window, shift, strict=True))
    return window_used, shift_used


def pad_to_multiple(x: Tensor, multiple: Sequence[int], fill: Tensor | None = None) -> Tensor:
    """Pad (B, *spatial, C) at the end of every spatial axis to a multiple of ``multiple``, by zeros or by (C,)."""
    spatial = x.shape[1:-1]
    missing = [-s % m for s, m in zip(spatial, multiple, strict=True)]
    if not any(missing):
        return x
    if fill is not None:
        for axis, m in enumerate(missing, 1):
            if m:
                x = torch.cat([x, fill.expand(*x.shape[:axis], m, *x.shape[axis + 1 :])], dim=axis)
        return x
    pads = [0, 0]
    for m in reversed(missing):
        pads += [0, m]
    return F.pad(x, pads)


def crop_map(x: Tensor, spatial: Sequence[int]) -> Tensor:
    """Undo :func:`pad_to_multiple`: the first ``spatial`` tokens of (B, *padded, C)."""
    kept = (slice(None), *(slice(s) for s in spatial))
    return x[kept]


def shift_map(x: Tensor, shift: Sequence[int]) -> Tensor:
    """Roll the spatial axes of (B, *spatial, C) towards the origin by ``shift``; negative shifts roll back."""
    if not any(shift):
        return x
    return torch.roll(x, [-d for d in shift], dims=list(range(1, x.ndim - 1)))


def frame_map(x: Tensor, window: Sequence[int], shift: Sequence[int], fill: Tensor | None = None) -> Tensor:
    """Map, (B, *S, C), to its frame, (B, *padded, C): padded by (C,), or by zeros, then rolled by ``shift``."""
    return shift_map(pad_to_multiple(x, window, fill), shift)


def partition_windows(x: Tensor, window: Sequence[int]) -> Tensor:
    """(B, *spatial, C) -> (B * windows, N, C); the windows of one image are consecutive, in row-major order.

    Args:
        x: token map whose sides are multiples of the window.
        window: window size; N is its product.
    """
    b, *spatial, c = x.shape
    d = len(spatial)
    split = [n for s, w in zip(spatial, window, strict=True) for n in (s // w, w)]
    order = [0, *range(1, 2 * d, 2), *range(2, 2 * d + 1, 2), 2 * d + 1]
    tokens = 1
    for w in window:
        tokens *= w
    return x.reshape(b, *split, c).permute(order).reshape(-1, tokens, c)


def merge_windows(windows: Tensor, window: Sequence[int], spatial: Sequence[int]) -> Tensor:
    """Inverse of :func:`partition_windows`: (B * windows, N, C) -> (B, *spatial, C)."""
    d = len(spatial)
    counts = [s // w for s, w in zip(spatial, window, strict=True)]
    order = [0, *(axis for i in range(d) for axis in (1 + i, 1 + d + i)), 1 + 2 * d]
    x = windows.reshape(-1, *counts, *window, windows.shape[-1])
    return x.permute(order).reshape(x.shape[0], *spatial, windows.shape[-1])


def shifted_window_mask(
    spatial: Sequence[int], window: Sequence[int], shift: Sequence[int], *, device: torch.device | None = None
) -> Tensor | None:
    """Who may attend to whom once a map is rolled by ``shift``: only tokens that were neighbours before the roll.

    Along each shifted axis the rolled map has three regions, cut at ``size - window`` and ``size - shift`` (Swin
    Transformer, Liu et al. 2021, figure 4); tokens of a window see each other if their regions agree on every axis.

    Args:
        spatial: padded map size, multiples of the window.
        window: window size.
        shift: roll per axis.
        device: where to put the mask.

    Returns:
        (windows, N, N), True where attention is allowed; None without a shift.
    """
    if not any(shift):
        return None
    region = torch.zeros(tuple(spatial), dtype=torch.int32, device=device)
    for axis, (s, w, d) in enumerate(zip(spatial, window, shift, strict=True)):
        if d:
            position = torch.arange(s, device=device)
            part = (position >= s - w).int() + (position >= s - d).int()
            region = region * 3 + part.view([-1 if i == axis else 1 for i in range(len(spatial))])
    region = partition_windows(region[None, ..., None], window).squeeze(-1)
    return region.unsqueeze(1) == region.unsqueeze(2)

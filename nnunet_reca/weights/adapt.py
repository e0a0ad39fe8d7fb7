"""Fit a published tensor to a network of another geometry: channels, windows, strides, kernels, token grids."""

import itertools
import math
import re
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nnunet_reca.blocks import PatchMerging
from nnunet_reca.blocks.attention import RelativePositionBias
from nnunet_reca.ops import resize_position_embedding

#: the convolutions that see the image itself
_IMAGE_CONVOLUTIONS = (
    r"encoder\.(patch_embed\.(proj|convs\.0)|resnet\.root\.0)\.weight"
    r"|decoder\.stem\.(conv1|skip\.0)\.conv\.weight"
)
_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def adapt(name: str, tensor: Tensor, target: Tensor, network: nn.Module) -> tuple[Tensor, str] | None:
    """Fit ``tensor`` to ``target``, the parameter or buffer ``name`` of ``network``.

    Returns:
        The fitted tensor and what was done, or None if there is no sound way.
    """
    owner_name = name.rpartition(".")[0]
    owner, parent = network.get_submodule(owner_name), network.get_submodule(owner_name.rpartition(".")[0])
    fitted: Tensor | None = None
    note = ""
    if isinstance(owner, RelativePositionBias) and name.endswith("relative_position_bias_table"):
        fitted, note = resize_bias_table(tensor, owner.window_size), f"bias table for window {owner.window_size}"
    elif isinstance(parent, PatchMerging):
        fitted, note = fold_sublattices(tensor, parent.stride), f"merging folded to stride {parent.stride}"
    elif name.endswith("position_embedding") and tensor.ndim == 3:
        side, grid = math.isqrt(tensor.shape[1]), cast(tuple[int, ...], owner.grid_size)
        if side * side == tensor.shape[1]:
            fitted = resize_position_embedding(tensor, (side, side), grid)
        note = f"position embedding for {grid} tokens"
    elif name.endswith("weight") and tensor.ndim == target.ndim > 2:
        transposed = isinstance(owner, nn.ConvTranspose2d | nn.ConvTranspose3d)
        fitted = resize_kernel(tensor, target.shape[2:], mean=transposed)
        if re.fullmatch(_IMAGE_CONVOLUTIONS, name):
            fitted = match_input_channels(fitted, target.shape[1])
        note = f"convolution {list(tensor.shape[1:])} -> {list(target.shape[1:])}"
    return (fitted, note) if fitted is not None and fitted.shape == target.shape else None


def match_input_channels(weight: Tensor, channels: int) -> Tensor:
    """First convolution for another number of image channels: the mean kernel for each, keeping the sum's scale.

    Args:
        weight: (C_out, C_in, *kernel).
        channels: wanted C_in.
    """
    if weight.shape[1] == channels:
        return weight
    mean = weight.mean(dim=1, keepdim=True) * (weight.shape[1] / channels)
    return mean.expand(-1, channels, *weight.shape[2:]).clone()


def resize_kernel(weight: Tensor, kernel: Sequence[int], *, mean: bool) -> Tensor:
    """Kernel with fewer or more taps per axis, by whole factors.

    Fewer taps sum their neighbours, more share them out, so that the response to a constant stays the same.

    Args:
        weight: (C_out, C_in, *kernel).
        kernel: wanted kernel; an axis that is no whole multiple is left alone.
        mean: for transposed convolutions, whose taps write different voxels: average, and repeat.
    """
    for axis, (old, new) in enumerate(zip(weight.shape[2:], kernel, strict=True), start=2):
        if old != new and old % new == 0:
            groups = weight.unflatten(axis, (new, old // new))
            weight = groups.mean(axis + 1) if mean else groups.sum(axis + 1)
        elif old != new and new % old == 0:
            weight = weight.repeat_interleave(new // old, axis) / (1 if mean else new // old)
    return weight


def fold_sublattices(weight: Tensor, stride: Sequence[int]) -> Tensor | None:
    """Merging weights made for stride 2 on every axis, for axes that no longer merge.

    The columns of sub-lattices that fall together are summed for the projection, whose input they share, and averaged
    for the norm.

    Args:
        weight: (..., 2^d * C), sub-lattices in row-major order.
        stride: wanted stride, 1 or 2 per axis.
    """
    if any(s not in (1, 2) for s in stride) or weight.shape[-1] % 2 ** len(stride):
        return None
    chunks = weight.chunk(2 ** len(stride), dim=-1)
    sums: dict[tuple[int, ...], list[Tensor]] = {}
    for offset, chunk in zip(itertools.product((0, 1), repeat=len(stride)), chunks, strict=True):
        sums.setdefault(tuple(o % s for o, s in zip(offset, stride, strict=True)), []).append(chunk)
    folded = [torch.stack(sums[key]).sum(0) for key in sorted(sums)]
    scale = len(sums) / len(chunks) if weight.ndim == 1 else 1.0
    return torch.cat(folded, dim=-1) * scale


def resize_bias_table(table: Tensor, window: Sequence[int]) -> Tensor | None:
    """Relative-position bias table for another window.

    A smaller window takes the rows of its offsets, which are exact; a larger one interpolates linearly on that axis.

    Args:
        table: (prod(2w - 1), heads) of a window of equal sides.
        window: wanted window.
    """
    dimensions = len(window)
    side = round(table.shape[0] ** (1 / dimensions))
    if side**dimensions != table.shape[0] or side % 2 == 0:
        return None
    grid = table.T.reshape(1, -1, *[side] * dimensions)
    wanted = [2 * w - 1 for w in window]
    for axis, size in enumerate(wanted, start=2):
        if size < side:
            grid = grid.narrow(axis, (side - size) // 2, size)
    if list(grid.shape[2:]) != wanted:
        grid = F.interpolate(grid, wanted, mode=_LINEAR[dimensions], align_corners=True)
    return grid.flatten(2)[0].T.contiguous()

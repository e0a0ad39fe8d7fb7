"""Fit a published tensor to a network of another geometry: channels, windows, strides, kernels, token grids."""

import itertools
import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nnunet_reca.blocks import PatchMerging
from nnunet_reca.blocks.attention import RelativePositionBias
from nnunet_reca.blocks.patch_expand import PatchExpand
from nnunet_reca.ops import resize_position_embedding

_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def geometry(name: str, network: nn.Module) -> tuple[int, ...] | None:
    """What a tensor's values depend on beside its shape: window, stride or token grid; None if there is nothing."""
    owner_name = name.rpartition(".")[0]
    try:
        owner, parent = network.get_submodule(owner_name), network.get_submodule(owner_name.rpartition(".")[0])
    except AttributeError:  # another depth
        return None
    if isinstance(owner, RelativePositionBias):
        return tuple(owner.window_size)
    if isinstance(parent, PatchMerging) or (isinstance(parent, PatchExpand) and name.endswith(".expand.weight")):
        return tuple(parent.stride)
    return cast(tuple[int, ...], owner.grid_size) if name.endswith("position_embedding") else None


def adapt(
    name: str, tensor: Tensor, target: Tensor, network: nn.Module, trained: nn.Module | None = None
) -> tuple[Tensor, str] | None:
    """Fit ``tensor`` to ``target``, the parameter or buffer ``name`` of ``network``.

    Args:
        name: of the tensor.
        tensor: of the source.
        target: of the network.
        network: to be filled.
        trained: network that the tensor comes from, if it is of this package; its geometry is the published one
            otherwise: windows and grids of equal sides, merging by 2.

    Returns:
        The fitted tensor and what was done, or None if there is no sound way.
    """
    owner = network.get_submodule(name.rpartition(".")[0])
    fitted: Tensor | None = None
    note = ""
    wanted, old = geometry(name, network), geometry(name, trained) if trained else None
    if wanted and old and len(wanted) != len(old):
        return None
    if wanted and isinstance(owner, RelativePositionBias):
        fitted, note = resize_bias_table(tensor, wanted, old), f"bias table for window {wanted}"
    elif wanted and name.endswith("position_embedding"):
        fitted, note = _resize_grid(tensor, wanted, old), f"position embedding for {wanted} tokens"
    elif wanted and name.endswith(".expand.weight"):
        fitted = fold_sublattices(tensor.T, wanted, old, mean=True)
        fitted, note = None if fitted is None else fitted.T, f"expanding by stride {wanted}"
    elif wanted:
        fitted, note = fold_sublattices(tensor, wanted, old), f"merging folded to stride {wanted}"
    elif name.endswith("weight") and tensor.ndim == target.ndim > 2:
        transposed = isinstance(owner, nn.ConvTranspose2d | nn.ConvTranspose3d)
        fitted = resize_kernel(tensor, target.shape[2:], mean=transposed)
        if name.removesuffix(".weight") in network.image_convolutions:  # type: ignore[operator]
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


def fold_sublattices(
    weight: Tensor, stride: Sequence[int], old: Sequence[int] | None = None, *, mean: bool | None = None
) -> Tensor | None:
    """Merging weights made for the strides ``old`` (2 on every axis), for other strides.

    Columns of sub-lattices that fall together are summed for a projection, whose input they share; one that splits
    shares its columns out. A norm's are averaged and repeated.

    Args:
        weight: (..., prod(old) * C), sub-lattices in row-major order.
        stride: wanted stride per axis.
        old: stride per axis of the source.
        mean: average and repeat; by default only for norms, which have one axis.
    """
    old = old or (2,) * len(stride)
    if any(max(pair) % min(pair) for pair in zip(old, stride, strict=True)) or weight.shape[-1] % math.prod(old):
        return None
    common = [min(pair) for pair in zip(old, stride, strict=True)]
    cells: dict[tuple[int, ...], list[Tensor]] = {}
    for cell, chunk in zip(_cells(old, common), weight.chunk(math.prod(old), dim=-1), strict=True):
        cells.setdefault(cell, []).append(chunk)
    if weight.ndim == 1 if mean is None else mean:
        values = {cell: torch.stack(chunks).mean(0) for cell, chunks in cells.items()}
    else:
        shares = math.prod(stride) // math.prod(common)
        values = {cell: torch.stack(chunks).sum(0) / shares for cell, chunks in cells.items()}
    return torch.cat([values[cell] for cell in _cells(stride, common)], dim=-1)


def _cells(stride: Sequence[int], common: Sequence[int]) -> list[tuple[int, ...]]:
    """Where the offsets of a stride lie, row-major, on the coarser lattice of ``common``."""
    offsets = itertools.product(*map(range, stride))
    return [tuple(o * c // s for o, c, s in zip(offset, common, stride, strict=True)) for offset in offsets]


def resize_bias_table(table: Tensor, window: Sequence[int], old: Sequence[int] | None = None) -> Tensor | None:
    """Relative-position bias table for another window.

    A smaller window takes the rows of its offsets, which are exact; a larger one interpolates linearly on that axis.

    Args:
        table: (prod(2w - 1), heads).
        window: wanted window.
        old: window of the source; one of equal sides by default.
    """
    dimensions = len(window)
    side = round(table.shape[0] ** (1 / dimensions))
    sides = [2 * w - 1 for w in old] if old else [side] * dimensions
    if math.prod(sides) != table.shape[0] or any(s % 2 == 0 for s in sides):
        return None
    grid = table.T.reshape(1, -1, *sides)
    wanted = [2 * w - 1 for w in window]
    for axis, (size, had) in enumerate(zip(wanted, sides, strict=True), start=2):
        if size < had:
            grid = grid.narrow(axis, (had - size) // 2, size)
    if list(grid.shape[2:]) != wanted:
        grid = F.interpolate(grid, wanted, mode=_LINEAR[dimensions], align_corners=True)
    return grid.flatten(2)[0].T.contiguous()


def _resize_grid(embedding: Tensor, grid: Sequence[int], old: Sequence[int] | None) -> Tensor | None:
    """Position embedding (1, N, C) for another grid; the source's has equal sides by default."""
    old = old or (round(embedding.shape[1] ** (1 / len(grid))),) * len(grid)
    return resize_position_embedding(embedding, old, grid) if math.prod(old) == embedding.shape[1] else None

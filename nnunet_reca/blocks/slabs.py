"""Inference of convolutional blocks on the CPU, a slab of slices at a time; see :mod:`nnunet_reca.ops.slabs`.

:func:`runs_in_slabs` is the condition; where it holds, :func:`residual_block` and :func:`up_block` give what the blocks
of :mod:`nnunet_reca.blocks.residual` give, in less time and memory.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from nnunet_reca.ops._torch import convolution
from nnunet_reca.ops.slabs import (
    SLAB,
    Method,
    Moments,
    SlabConvolution,
    convolution_method,
    empty_map,
    iterate_slabs,
    runs_in_slabs,
    slab_depth,
    slab_dtype,
    upsample_slices,
)

__all__ = ["ResidualWeights", "convolution_in_slabs", "residual_block", "runs_by_winograd", "runs_in_slabs", "up_block"]

#: of the instance norms, as :func:`nnunet_reca.ops.instance_norm` has by default
EPS = 1e-5
#: of the blocks' LeakyReLUs
SLOPE = 0.01


class ResidualWeights(NamedTuple):
    """Weights of a residual block: its two convolutions, and that of the skip where the channels change."""

    conv1: Tensor
    conv2: Tensor
    skip: Tensor | None

    def to(self, dtype: torch.dtype) -> "ResidualWeights":
        return ResidualWeights(*(None if w is None else w.to(dtype) for w in self))  # type: ignore[arg-type]


def residual_block(
    weights: ResidualWeights, x: Tensor, *, slab_bytes: int = SLAB, method: Method | None = None
) -> Tensor:
    """A residual block's output on a map, (B, C_in, D, H, W) -> (B, C_out, D, H, W).

    Args:
        weights: of the block.
        x: its input.
        slab_bytes: size of a slab.
        method: of the convolutions, see :class:`nnunet_reca.ops.slabs.SlabConvolution`; default the fastest.
    """
    x = x.to(slab_dtype(x), memory_format=torch.channels_last_3d)

    def write(item: int, out: Tensor, start: int) -> None:
        out.copy_(x[item : item + 1, :, start : start + out.shape[2]])

    return _refine(weights, write, x, slab_bytes, method)


def up_block(
    upsample: Tensor,
    refine: ResidualWeights,
    x: Tensor,
    skip: Tensor,
    *,
    slab_bytes: int = SLAB,
    method: Method | None = None,
) -> Tensor:
    """An up block's output; the upsampled map and the joined one exist in slabs only.

    Args:
        upsample: weight of the transposed convolution.
        refine: weights of the residual block.
        x: map to upsample.
        skip: map to join.
        slab_bytes: size of a slab.
        method: of the convolutions.
    """
    dtype = slab_dtype(x)
    upsample, x, skip = upsample.to(dtype), x.to(dtype), skip.to(dtype)

    def write(item: int, out: Tensor, start: int) -> None:
        upsampled, beside = out.chunk(2, dim=1)
        upsample_slices(x[item : item + 1], upsample, upsampled, start)
        beside.copy_(skip[item : item + 1, :, start : start + out.shape[2]])

    return _refine(refine, write, skip, slab_bytes, method)


def convolution_in_slabs(
    weight: Tensor, bias: Tensor, x: Tensor, *, gelu: bool = False, slab_bytes: int = SLAB
) -> Tensor:
    """Winograd's convolution of a map, zero-padded to keep its size, (B, C_in, D, H, W) -> (B, C_out, D, H, W).

    Args:
        weight: kernel of odd sides that spans three slices, see :func:`runs_by_winograd`.
        bias: (C_out,).
        x: map.
        gelu: of the result, or not.
        slab_bytes: size of a slab.
    """
    conv = SlabConvolution(weight, "winograd")
    result = empty_map(x, x.shape[0], len(weight), x.shape[2:])
    depth = slab_depth(x, max(weight.shape[:2]), conv.halo, slab_bytes)
    for item, target in zip(x.split(1), result.split(1), strict=True):

        def write(out: Tensor, start: int, item: Tensor = item) -> None:
            out.copy_(item[:, :, start : start + out.shape[2]])

        for part, slab in iterate_slabs(write, x, weight.shape[1], depth, conv.halo):
            out = target[:, :, part]
            conv(slab, out)
            out.add_(bias.view(-1, 1, 1, 1))
            if gelu:
                out.copy_(F.gelu(out))
    return result


def runs_by_winograd(weight: Tensor, x: Tensor) -> bool:
    """Whether a convolution of stride 1 is inferred in slabs and faster by Winograd's."""
    return (
        runs_in_slabs(x)
        and slab_dtype(x) == weight.dtype
        and convolution_method(weight, x.shape[2:].numel()) == "winograd"
    )


def _refine(
    weights: ResidualWeights,
    write: Callable[[int, Tensor, int], None],
    like: Tensor,
    slab_bytes: int,
    method: Method | None,
) -> Tensor:
    """A residual block's output for an input that is computed slab by slab.

    Args:
        weights: of the block.
        write: writes slices of an item of the batch, called as ``write(item, out, start)``, see
            :func:`nnunet_reca.ops.slabs.iterate_slabs`.
        like: any map of the input's batch and spatial size, in the dtype of all that is computed, whatever autocast
            says; the input itself where C_in = C_out.
    """
    weights, voxels = weights.to(like.dtype), like.shape[2:].numel()
    kernels = (weights.conv1, weights.conv2)
    result = empty_map(like, like.shape[0], len(weights.conv2), like.shape[2:])
    with torch.autocast("cpu", enabled=False):
        convs = [SlabConvolution(kernel, method or convolution_method(kernel, voxels)) for kernel in kernels]
        for item in range(len(like)):
            one = slice(item, item + 1)
            _refine_item(weights, partial(write, item), convs, like[one], result[one], slab_bytes)
    return result


def _refine_item(
    weights: ResidualWeights,
    write: Callable[[Tensor, int], None],
    convs: Sequence[SlabConvolution],
    like: Tensor,
    result: Tensor,
    slab_bytes: int,
) -> None:
    """``result`` takes the first convolution's output, then the second's, then the block's.

    In place it can be, because what the second convolution overwrites is in its slab already, halos included.
    """
    first, second = convs
    output_channels, input_channels = weights.conv1.shape[:2]
    residual = like if weights.skip is None else empty_map(like, 1, output_channels, like.shape[2:])
    moments, residual_moments = Moments(), Moments()
    depth = slab_depth(like, max(input_channels, output_channels), first.halo, slab_bytes)
    for part, slab in iterate_slabs(write, like, input_channels, depth, first.halo):
        first(slab, result[:, :, part])
        moments.add(result[:, :, part])
        if weights.skip is not None:
            inner = slab[:, :, first.halo : slab.shape[2] - first.halo]
            residual[:, :, part] = convolution(inner, weights.skip, (0, 0, 0))
            residual_moments.add(residual[:, :, part])
    scale, shift = moments.scale_and_shift(EPS)

    def write_activation(out: Tensor, start: int) -> None:
        torch.addcmul(shift, result[:, :, start : start + out.shape[2]], scale, out=out)
        F.leaky_relu_(out, SLOPE)

    moments = Moments()
    depth = slab_depth(like, output_channels, second.halo, slab_bytes)
    for part, slab in iterate_slabs(write_activation, like, output_channels, depth, second.halo):
        second(slab, result[:, :, part])
        moments.add(result[:, :, part])
    scale, shift = moments.scale_and_shift(EPS)

    residual_scale, residual_shift = residual_moments.scale_and_shift(EPS) if weights.skip is not None else (1.0, 0.0)
    for out, beside in zip(result.split(depth, 2), residual.split(depth, 2), strict=True):
        torch.addcmul(shift + residual_shift, out, scale, out=out)
        out.add_(beside) if weights.skip is None else out.addcmul_(beside, residual_scale)
        F.leaky_relu_(out, SLOPE)

"""Strided 3x3(x3) convolution of a token map; on the CPU a matrix product where the map is small next to the kernel."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def convolve_tokens(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int]) -> Tensor:
    """Convolution with zero padding that keeps the size, but for the stride: (B, *S, C_in) -> (B, *S', C_out).

    oneDNN brings kernels into a layout of its own, forward and backward, which on a small map takes many times longer
    than the arithmetic: a training step through 768 to 1536 channels on 8x4x4 tokens takes a seventh as a product, and
    one through 384 to 768 channels on 16x8x8 a third. Where the map is larger than the kernel, gathering it would cost
    more than that.

    Args:
        x: token map.
        weight: (C_out, C_in, *kernel), of odd sides, in either memory format.
        bias: (C_out,) or None.
        stride: per axis.
    """
    if _as_product(x, weight, stride):
        return _product(x, weight, bias, stride)
    conv = F.conv3d if len(stride) == 3 else F.conv2d
    channels = x.movedim(-1, 1)
    channels = channels if x.device.type == "cpu" else channels.contiguous()
    padding = tuple(k // 2 for k in weight.shape[2:])
    return conv(channels, weight, bias, tuple(stride), padding).movedim(1, -1).contiguous()


def _as_product(x: Tensor, weight: Tensor, stride: Sequence[int]) -> bool:
    """In eager mode on the CPU, where there are no more tokens than kernels; graphs keep one convolution.

    Its FLOPs are the convolution's, so that modes that count operations may see it.
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    tokens = x.shape[0]
    for side, s in zip(x.shape[1:-1], stride, strict=True):
        tokens *= -(-side // s)
    return tokens <= weight.shape[0]


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int]) -> Tensor:
    """Gathers the neighbours of each token in the order of the kernel's own memory, so that no kernel is copied."""
    kernel, dimensions = weight.shape[2:], len(stride)
    pads = [side for k in reversed(kernel) for side in (k // 2, k // 2)]
    x = F.pad(x, [0, 0, *pads])
    for axis, (k, s) in enumerate(zip(kernel, stride, strict=True), 1):
        x = x.unfold(axis, k, s)
    if not weight.is_contiguous():
        x, weight = x.movedim(1 + dimensions, -1), weight.movedim(1, -1)
    return F.linear(x.flatten(1 + dimensions), weight.flatten(1), bias)

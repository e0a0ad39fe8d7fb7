"""Instance norm that keeps a channels-last layout, in which convolutions on the CPU are fastest."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def instance_norm(x: Tensor, eps: float = 1e-5, *, inplace: bool = False) -> Tensor:
    """(x - mean) / sqrt(variance + eps) over the spatial axes of (B, C, *S), channels-last on the CPU.

    ``torch.nn.functional.instance_norm`` goes back to the contiguous layout, so that each convolution has to convert
    its input, and its gradient is wrong on the CPU for a batch of one and a channels-last output gradient (seen in
    PyTorch 2.14). Elsewhere than on the CPU it is what this function calls. ``inplace`` allows to overwrite ``x`` where
    no gradient needs it: a fresh map costs more than the arithmetic.
    """
    if x.device.type != "cpu":
        return F.instance_norm(x, eps=eps)
    if x.shape[2:].numel() == 1:
        raise ValueError(
            f"expected more than one voxel to normalise over, got shape {tuple(x.shape)}; use larger patches"
        )
    layout = torch.channels_last_3d if x.ndim == 5 else torch.channels_last
    x = x.contiguous(memory_format=layout)
    if inplace and not x.requires_grad and not torch.compiler.is_compiling():
        return _normalise(x, eps, inplace=True)[0]
    return _ChannelsLastInstanceNorm.apply(x, eps)


class _ChannelsLastInstanceNorm(torch.autograd.Function):
    """Two passes over the voxels, in float32 at least.

    PyTorch's group norm, with one channel per group, keeps the layout too, but sums up 64^3 voxels in float32 one after
    the other: its error is 2e-4 there and 1e-3 at 96^3, several hundred times this one's.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        y, mean, rstd = _normalise(x, eps)
        ctx.save_for_backward(x, mean, rstd)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """With c = x - mean and y = r c: dx = r (dy - mean(dy) - y mean(dy y))."""
        x, mean, rstd = ctx.saved_tensors
        axes = tuple(range(2, x.ndim))
        c, dy = x - mean, grad.to(mean.dtype)
        slope = rstd**3 * _mean_product(dy, c, axes)
        dx = c.mul_(-slope).addcmul_(dy, rstd).sub_(rstd * _mean(dy, axes))
        return dx.to(x.dtype), None


def _normalise(x: Tensor, eps: float, *, inplace: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """The normalised map, mean and 1 / deviation, (B, C, 1, ...)."""
    axes = tuple(range(2, x.ndim))
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    mean = _mean(wide, axes)
    y = wide.sub_(mean) if inplace else wide - mean
    rstd = (_mean_product(y, y, axes) + eps).rsqrt()
    return y.mul_(rstd).to(x.dtype), mean, rstd


def _mean(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """torch.mean takes ten times as long in this layout."""
    return x.sum(axes, keepdim=True) / x.shape[2:].numel()


def _mean_product(a: Tensor, b: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Mean of a * b without a whole map for the products."""
    rows = -(-a.shape[2] // 8)
    parts = zip(a.split(rows, dim=2), b.split(rows, dim=2), strict=True)
    sums = torch.stack([(x * y).sum(axes, keepdim=True) for x, y in parts])
    return sums.sum(0) / a.shape[2:].numel()

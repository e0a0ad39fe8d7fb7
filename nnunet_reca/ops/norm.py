"""Norms that suit the device: layouts on the CPU, and what is kept for the backward pass elsewhere."""

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


def instance_norm_leaky_relu(x: Tensor, slope: float, eps: float = 1e-5) -> Tensor:
    """leaky_relu(instance_norm(x)), (B, C, *S) -> (B, C, *S); may overwrite ``x`` where no gradient needs it.

    Elsewhere than on the CPU ``x`` is not kept for the gradient, but computed again from the output, which the next
    layer keeps anyway (Rota Bulo et al. 2018, "In-place activated BatchNorm"). Compilers choose by themselves.
    """
    learns = x.requires_grad and torch.is_grad_enabled()
    if x.device.type == "cpu" or not learns or torch.compiler.is_compiling():
        return F.leaky_relu(instance_norm(x, eps, inplace=True), slope, inplace=True)
    return _InstanceNormLeakyReLU.apply(x, slope, eps)


class _InstanceNormLeakyReLU(torch.autograd.Function):
    """Batch norm of one batch with a channel for each instance and channel, as PyTorch's instance norm."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float, eps: float) -> Tensor:
        maps = x.reshape(1, -1, *x.shape[2:])
        y, _, rstd = torch.native_batch_norm(maps, None, None, None, None, True, 0.0, eps)
        y = F.leaky_relu_(y.view(x.shape), slope)
        ctx.save_for_backward(y, rstd)
        ctx.slope, ctx.eps = slope, eps
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """With z the normalised map: dx = r (dz - mean(dz) - z mean(dz z)), the gradient of a norm of z scaled by r."""
        y, rstd = ctx.saved_tensors
        shape = (1, -1, *y.shape[2:])
        dz = torch.where(y > 0, grad, grad * ctx.slope).reshape(shape)  # at 0 as PyTorch's leaky_relu
        z = torch.where(y > 0, y, y / ctx.slope).reshape(shape)
        nothing, one = torch.zeros_like(rstd), torch.ones_like(rstd)
        dx, _, _ = torch.ops.aten.native_batch_norm_backward(
            dz, z, rstd, None, None, nothing, one, True, ctx.eps, [True, False, False]
        )
        return dx.view(y.shape), None, None


def layer_norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Layer norm over the last axis; under autocast elsewhere than on the CPU, ``x`` is kept in its half precision.

    Autocast norms in float32 and would keep a float32 copy of the input. The result is the same, in float32.
    """
    half = x.dtype in (torch.float16, torch.bfloat16)
    if half and torch.is_grad_enabled() and not torch.compiler.is_compiling() and _autocast_off_the_cpu(x.device.type):
        return _HalfLayerNorm.apply(x, weight, bias, eps)
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps)


def _autocast_off_the_cpu(device: str) -> bool:
    return device != "cpu" and torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


class _HalfLayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
        y, mean, rstd = torch.native_layer_norm(x.float(), x.shape[-1:], weight, bias, eps)
        ctx.save_for_backward(x, weight, bias, mean, rstd)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, rstd = ctx.saved_tensors
        dx, dweight, dbias = torch.ops.aten.native_layer_norm_backward(
            grad.float(), x.float(), x.shape[-1:], mean, rstd, weight, bias, ctx.needs_input_grad[:3]
        )
        return None if dx is None else dx.to(x.dtype), dweight, dbias, None


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

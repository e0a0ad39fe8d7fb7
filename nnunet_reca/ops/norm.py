"""Instance norm that keeps a channels-last layout, in which convolutions on the CPU are fastest."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def instance_norm(x: Tensor, eps: float = 1e-5) -> Tensor:
    """(x - mean) / sqrt(variance + eps) over the spatial axes of (B, C, *S), channels-last on the CPU.

    ``torch.nn.functional.instance_norm`` goes back to the contiguous layout, so that each convolution has to convert
    its input, and its gradient is wrong on the CPU for a batch of one and a channels-last output gradient (seen in
    PyTorch 2.14). Elsewhere than on the CPU it is what this function calls.
    """
    if x.device.type != "cpu":
        return F.instance_norm(x, eps=eps)
    if x[0, 0].numel() == 1:
        raise ValueError(
            f"expected more than one voxel to normalise over, got shape {tuple(x.shape)}; use larger patches"
        )
    layout = torch.channels_last_3d if x.ndim == 5 else torch.channels_last
    return _ChannelsLastInstanceNorm.apply(x.contiguous(memory_format=layout), eps)


class _ChannelsLastInstanceNorm(torch.autograd.Function):
    """Group norm with one channel per group, whose own backward pass in PyTorch is three times slower."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        b, c = x.shape[:2]
        out, mean, rstd = torch.native_group_norm(x, None, None, b, c, x[0, 0].numel(), c, eps)
        ctx.save_for_backward(x, mean, rstd)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """With y = r (x - m) over n voxels: dx = r (dy - mean(dy) - y mean(dy y)), written as r dy + s x + t."""
        x, mean, rstd = ctx.saved_tensors
        wide = torch.promote_types(x.dtype, torch.float32)
        voxels, dy = (t.movedim(1, -1).flatten(1, -2).to(wide) for t in (x, grad))  # (B, n, C)
        m, r = mean.to(wide).unsqueeze(1), rstd.to(wide).unsqueeze(1)
        n = voxels.shape[1]
        # sums over the voxels as matrix products, which are fast in this layout
        ones = voxels.new_ones(1, 1, n).expand(x.shape[0], 1, n)
        mean_dy, mean_dy_x = ones @ dy / n, ones @ (dy * voxels) / n
        s = r**3 * (m * mean_dy - mean_dy_x)
        dx = torch.addcmul(-r * mean_dy - s * m, voxels, s).addcmul_(dy, r)
        return dx.to(x.dtype).unflatten(1, x.shape[2:]).movedim(-1, 1), None

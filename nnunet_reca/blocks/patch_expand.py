"""Patch expanding for any stride per axis: the counterpart of patch merging."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from nnunet_reca.blocks.norm import LayerNorm
from nnunet_reca.ops import merge_windows


class PatchExpand(nn.Module):
    """Project every token to a window of tokens and normalise: (B, *S, dim) -> (B, *(S * stride), output_dim).

    The tokens of a window are ordered by their offset, the last axis running fastest. Source: Swin-Unet, Cao et al.
    2022, section 3.5, generalised to any stride per axis.

    Args:
        dim: channels.
        output_dim: channels of the result.
        stride: tokens made of one, per axis, such as (1, 2, 2).
    """

    def __init__(self, dim: int, output_dim: int, stride: Sequence[int]) -> None:
        super().__init__()
        self.stride = tuple(stride)
        self.output_dim = output_dim
        self.expand = nn.Linear(dim, math.prod(self.stride) * output_dim, bias=False)
        self.norm = LayerNorm(output_dim)

    def forward(self, x: Tensor) -> Tensor:
        return arrange(self.windows(x), self.stride)

    def windows(self, x: Tensor) -> Tensor:
        """The tokens made of each token, side by side: (B, *S, dim) -> (B, *S, prod(stride), output_dim)."""
        return self.norm(self.expand(x).unflatten(-1, (-1, self.output_dim)))


def arrange(windows: Tensor, stride: Sequence[int]) -> Tensor:
    """Windows of tokens, in their places: (B, *S, prod(stride), C) -> (B, *(S * stride), C)."""
    spatial = [n * s for n, s in zip(windows.shape[1:-2], stride, strict=True)]
    return merge_windows(windows.flatten(0, -3), stride, spatial)

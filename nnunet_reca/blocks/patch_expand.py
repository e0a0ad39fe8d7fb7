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
        spatial = [n * s for n, s in zip(x.shape[1:-1], self.stride, strict=True)]
        windows = self.expand(x).reshape(-1, math.prod(self.stride), self.output_dim)
        return self.norm(merge_windows(windows, self.stride, spatial))

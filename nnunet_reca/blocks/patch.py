"""Patch embedding and patch merging for any stride per axis."""

import itertools
import math
from collections.abc import Sequence

import torch
from dynamic_network_architectures.building_blocks.helper import convert_dim_to_conv_op
from torch import Tensor, nn

from nnunet_reca.blocks.norm import LayerNorm


def channels_last(x: Tensor) -> Tensor:
    """(B, C, *spatial) -> (B, *spatial, C)."""
    return x.movedim(1, -1)


def channels_first(x: Tensor) -> Tensor:
    """(B, *spatial, C) -> (B, C, *spatial), in the layout that convolutions like: channels-last on the CPU only."""
    x = x.movedim(-1, 1)
    return x if x.device.type == "cpu" else x.contiguous()


class PatchEmbed(nn.Module):
    """Non-overlapping convolution: (B, C, *spatial) -> tokens (B, *(spatial / stride), dim).

    Args:
        input_channels: channels of the image.
        dim: channels of the tokens.
        stride: size of a token in voxels, per axis.
    """

    def __init__(self, input_channels: int, dim: int, stride: Sequence[int]) -> None:
        super().__init__()
        conv = convert_dim_to_conv_op(len(stride))
        self.proj = conv(input_channels, dim, kernel_size=tuple(stride), stride=tuple(stride))

    def forward(self, x: Tensor) -> Tensor:
        return channels_last(self.proj(x))


class PatchMerging(nn.Module):
    """Concatenate the sub-lattices of a token map, normalise and project: (B, *S, dim) -> (B, *(S / stride), 2 dim).

    Sub-lattices are ordered by their offset, the last axis running fastest (MONAI's ``mergingv2``). Source: Swin
    Transformer, Liu et al. 2021, section 3.1, generalised to any stride per axis.

    Args:
        dim: channels; the output has twice as many.
        stride: merged tokens per axis, such as (1, 2, 2).
        duplicated_sublattices: take offsets (0,1,0) and (0,0,1) twice, (1,1,0) and (0,1,1) never.
            # as published: ``merging`` of SwinUNETR-RecA and of MONAI 0.9 to 1.4, in 3D with stride 2.

    Raises:
        ValueError: if the duplication is asked for with another stride than (2, 2, 2).
    """

    #: offsets in the order of the published 3D code
    DUPLICATED = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 0), (0, 0, 1), (1, 1, 1))

    def __init__(self, dim: int, stride: Sequence[int], *, duplicated_sublattices: bool = False) -> None:
        super().__init__()
        self.stride = tuple(stride)
        if duplicated_sublattices and self.stride != (2, 2, 2):
            raise ValueError(
                f"expected stride (2, 2, 2) for the published merging with duplicated sub-lattices, got {self.stride}; "
                "use duplicated_sublattices=False"
            )
        offsets = itertools.product(*(range(s) for s in self.stride))
        self.offsets = self.DUPLICATED if duplicated_sublattices else tuple(offsets)
        width = math.prod(self.stride) * dim
        self.norm = LayerNorm(width)
        self.reduction = nn.Linear(width, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        picks = [(slice(None), *map(slice, offset, x.shape[1:-1], self.stride)) for offset in self.offsets]
        return self.reduction(self.norm(torch.cat([x[pick] for pick in picks], dim=-1)))

"""Convolutional parts of the decoders, built from dynamic_network_architectures."""

from collections.abc import Sequence

import torch
from dynamic_network_architectures.building_blocks.helper import (
    convert_dim_to_conv_op,
    get_matching_convtransp,
)
from torch import Tensor, nn
from torch.nn import functional as F

from nnunet_reca.ops import instance_norm


class InstanceNorm(nn.Module):
    """:func:`nnunet_reca.ops.instance_norm` with learned scale and shift, (B, C, *S) -> (B, C, *S)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return F.instance_norm(x, weight=self.weight, bias=self.bias)
        shape = (-1, *(1,) * (x.ndim - 2))
        return torch.addcmul(self.bias.view(shape), instance_norm(x), self.weight.view(shape)).to(x.dtype)


def conv_norm_relu(input_channels: int, output_channels: int, *, eps: float = 1e-5, momentum: float = 0.1) -> nn.Module:
    """3x3 convolution without bias, batch norm and ReLU, in 2D, (B, C_in, H, W) -> (B, C_out, H, W)."""
    return nn.Sequential(
        nn.Conv2d(input_channels, output_channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(output_channels, eps=eps, momentum=momentum),
        nn.ReLU(inplace=True),
    )


def transposed_conv(
    input_channels: int, output_channels: int, stride: Sequence[int], *, bias: bool = False
) -> nn.ConvTranspose2d | nn.ConvTranspose3d:
    """Learned upsampling by ``stride``, (B, C_in, *S) -> (B, C_out, *(S * stride))."""
    conv = get_matching_convtransp(dimension=len(stride))
    return conv(input_channels, output_channels, kernel_size=tuple(stride), stride=tuple(stride), bias=bias)


def segmentation_head(input_channels: int, num_classes: int, dimensions: int) -> nn.Module:
    """1x1 convolution to raw logits, (B, C, *S) -> (B, num_classes, *S)."""
    return convert_dim_to_conv_op(dimensions)(input_channels, num_classes, kernel_size=1)

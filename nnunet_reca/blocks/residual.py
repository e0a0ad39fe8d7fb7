"""Residual convolution blocks of UNETR's decoder."""

from collections.abc import Sequence

import torch
from dynamic_network_architectures.building_blocks.helper import convert_dim_to_conv_op
from torch import Tensor, nn
from torch.nn import functional as F

from nnunet_reca.blocks import slabs
from nnunet_reca.blocks.conv import transposed_conv
from nnunet_reca.ops import instance_norm, instance_norm_leaky_relu


class ResidualBlock(nn.Module):
    """Two convolutions with instance norm and LeakyReLU around a skip, (B, C_in, *S) -> (B, C_out, *S).

    The same block as MONAI's ``UnetResBlock``: no convolution biases, norm without learned scale, slope 0.01, a
    normalised 1x1 convolution on the skip where the channels change. Inference on the CPU computes it in slabs, see
    :mod:`nnunet_reca.blocks.slabs`; hooks of the layers inside are not called then.
    """

    def __init__(self, input_channels: int, output_channels: int, kernel_size: Sequence[int]) -> None:
        super().__init__()
        conv, kernel, padding = (
            convert_dim_to_conv_op(len(kernel_size)),
            tuple(kernel_size),
            [k // 2 for k in kernel_size],
        )
        self.conv1 = conv(input_channels, output_channels, kernel, padding=padding, bias=False)
        self.conv2 = conv(output_channels, output_channels, kernel, padding=padding, bias=False)
        self.skip: nn.Conv2d | nn.Conv3d | None = None
        if input_channels != output_channels:
            self.skip = conv(input_channels, output_channels, 1, bias=False)

    @property
    def weights(self) -> slabs.ResidualWeights:
        skip = None if self.skip is None else self.skip.weight
        return slabs.ResidualWeights(self.conv1.weight, self.conv2.weight, skip)

    def forward(self, x: Tensor) -> Tensor:
        if slabs.runs_in_slabs(x):
            return slabs.residual_block(self.weights, x)
        y = instance_norm_leaky_relu(self.conv1(x), slabs.SLOPE)
        y = instance_norm(self.conv2(y), inplace=True)
        y += x if self.skip is None else instance_norm(self.skip(x), inplace=True)
        return F.leaky_relu(y, slabs.SLOPE, inplace=True)


class UpBlock(nn.Module):
    """Upsample, concatenate the skip, refine: (B, C_in, *S), (B, C_out, *S s) -> (B, C_out, *S s).

    Inference on the CPU upsamples and joins in slabs; hooks of the layers inside are not called then.
    """

    def __init__(
        self, input_channels: int, output_channels: int, stride: Sequence[int], kernel_size: Sequence[int]
    ) -> None:
        super().__init__()
        self.upsample = transposed_conv(input_channels, output_channels, stride)
        self.refine = ResidualBlock(2 * output_channels, output_channels, kernel_size)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        if slabs.runs_in_slabs(x):
            return slabs.up_block(self.upsample.weight, self.refine.weights, x, skip)
        return self.refine(torch.cat([self.upsample(x), skip], dim=1))

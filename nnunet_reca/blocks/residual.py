"""Residual convolution block, which inference on the CPU computes in slabs."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from dynamic_network_architectures.building_blocks.helper import convert_dim_to_conv_op
from dynamic_network_architectures.building_blocks.residual import BasicBlockD
from torch import Tensor, nn
from torch.nn import functional as F

from nnunet_reca.blocks.conv import InstanceNorm
from nnunet_reca.ops import Moments, SlabConvolution, convolution, empty_map, iterate_slabs, runs_in_slabs, slab_depth

EPS = 1e-5
SLOPE = 0.01


class ResidualBlock(BasicBlockD):
    """Two convolutions with instance norm and LeakyReLU around a skip, (B, C_in, *S) -> (B, C_out, *S).

    The same block as MONAI's ``UnetResBlock``: no convolution biases, norm without learned scale, slope 0.01, a
    normalised 1x1 convolution on the skip where the channels change. Inference on the CPU computes it in slabs, see
    :mod:`nnunet_reca.ops.slabs`; hooks of the layers inside are not called there.
    """

    def __init__(self, input_channels: int, output_channels: int, kernel_size: Sequence[int]) -> None:
        super().__init__(
            convert_dim_to_conv_op(len(kernel_size)),
            input_channels,
            output_channels,
            list(kernel_size),
            1,
            conv_bias=False,
            norm_op=InstanceNorm,
            norm_op_kwargs={"eps": EPS},
            nonlin=nn.LeakyReLU,
            nonlin_kwargs={"negative_slope": SLOPE, "inplace": True},
        )

    def forward(self, x: Tensor) -> Tensor:
        if not runs_in_slabs(x):
            return super().forward(x)
        x = x.contiguous(memory_format=torch.channels_last_3d)

        def write(item: int, out: Tensor, start: int) -> None:
            out.copy_(x[item : item + 1, :, start : start + out.shape[2]])

        return self.in_slabs(write, x)

    def in_slabs(self, write: Callable[[int, Tensor, int], None], like: Tensor) -> Tensor:
        """The same for an input that is computed slab by slab.

        Args:
            write: writes slices of an item of the batch, called as ``write(item, out, start)``, see
                :func:`nnunet_reca.ops.iterate_slabs`.
            like: any map of the input's batch and spatial size; the input itself where the skip is not projected.
        """
        result = empty_map(like, like.shape[0], self.output_channels, like.shape[2:])
        for item in range(len(like)):
            self._item_in_slabs(partial(write, item), like[item : item + 1], result[item : item + 1])
        return result

    def _item_in_slabs(self, write: Callable[[Tensor, int], None], like: Tensor, result: Tensor) -> None:
        """``result`` holds the first convolution's output, then the second's."""
        voxels = like[0, 0].numel()
        first, second = (SlabConvolution(part.conv.weight, voxels) for part in (self.conv1, self.conv2))
        moments, moments_2, moments_skip = Moments(), Moments(), Moments()
        projected = isinstance(self.skip, nn.Module)
        skip = empty_map(like, 1, self.output_channels, like.shape[2:]) if projected else like

        depth = slab_depth(like, max(self.input_channels, self.output_channels), first.halo)
        for part, slab in iterate_slabs(write, like, self.input_channels, depth, first.halo):
            first(slab, result[:, :, part])
            moments.add(result[:, :, part])
            if projected:
                inner = slab[:, :, first.halo : first.halo + result[:, :, part].shape[2]]
                skip[:, :, part] = convolution(inner, self.skip[0].conv.weight, (0, 0, 0))
                moments_skip.add(skip[:, :, part])
        scale, shift = moments.scale_and_shift(EPS)

        def write_activation(out: Tensor, start: int) -> None:
            torch.addcmul(shift, result[:, :, start : start + out.shape[2]], scale, out=out)
            F.leaky_relu_(out, SLOPE)

        depth = slab_depth(like, self.output_channels, second.halo)
        for part, slab in iterate_slabs(write_activation, like, self.output_channels, depth, second.halo):
            second(slab, result[:, :, part])
            moments_2.add(result[:, :, part])
        scale_2, shift_2 = moments_2.scale_and_shift(EPS)

        for out, residual in zip(result.split(depth, 2), skip.split(depth, 2), strict=True):
            if projected:
                scale_skip, shift_skip = moments_skip.scale_and_shift(EPS)
                torch.addcmul(shift_2 + shift_skip, out, scale_2, out=out).addcmul_(residual, scale_skip)
            else:
                torch.addcmul(shift_2, out, scale_2, out=out).add_(residual)
            F.leaky_relu_(out, SLOPE)

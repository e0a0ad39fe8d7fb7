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
    :mod:`nnunet_reca.ops.slabs`; hooks of the layers inside are not called then.
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
            like: any map of the input's batch, dtype and spatial size; the input itself where C_in = C_out.
        """
        voxels = like.shape[2:].numel()
        convs = [SlabConvolution(part.conv.weight, voxels) for part in (self.conv1, self.conv2)]
        result = empty_map(like, like.shape[0], self.output_channels, like.shape[2:])
        for item in range(len(like)):
            one = slice(item, item + 1)
            self._item_in_slabs(partial(write, item), convs, like[one], result[one])
        return result

    def _item_in_slabs(
        self, write: Callable[[Tensor, int], None], convs: Sequence[SlabConvolution], like: Tensor, result: Tensor
    ) -> None:
        """``result`` takes the first convolution's output, then the second's, then the block's.

        In place it can be, because what the second convolution overwrites is in its slab already, halos included.
        """
        first, second = convs
        projected = self.input_channels != self.output_channels
        residual = empty_map(like, 1, self.output_channels, like.shape[2:]) if projected else like
        moments, residual_moments = Moments(), Moments()
        depth = slab_depth(like, max(self.input_channels, self.output_channels), first.halo)
        for part, slab in iterate_slabs(write, like, self.input_channels, depth, first.halo):
            first(slab, result[:, :, part])
            moments.add(result[:, :, part])
            if projected:
                inner = slab[:, :, first.halo : slab.shape[2] - first.halo]
                residual[:, :, part] = convolution(inner, self.skip[0].conv.weight, (0, 0, 0))
                residual_moments.add(residual[:, :, part])
        scale, shift = moments.scale_and_shift(EPS)

        def write_activation(out: Tensor, start: int) -> None:
            torch.addcmul(shift, result[:, :, start : start + out.shape[2]], scale, out=out)
            F.leaky_relu_(out, SLOPE)

        moments = Moments()
        depth = slab_depth(like, self.output_channels, second.halo)
        for part, slab in iterate_slabs(write_activation, like, self.output_channels, depth, second.halo):
            second(slab, result[:, :, part])
            moments.add(result[:, :, part])
        scale, shift = moments.scale_and_shift(EPS)

        residual_scale, residual_shift = residual_moments.scale_and_shift(EPS) if projected else (1.0, 0.0)
        for out, beside in zip(result.split(depth, 2), residual.split(depth, 2), strict=True):
            torch.addcmul(shift + residual_shift, out, scale, out=out)
            out.addcmul_(beside, residual_scale) if projected else out.add_(beside)
            F.leaky_relu_(out, SLOPE)

"""Patch embedding, merging and expanding by convolutions, for any stride per axis.

Source: nnFormer, Zhou et al. 2023, "nnFormer: Volumetric Medical Image Segmentation via a 3D Transformer".
"""

from collections.abc import Sequence

from dynamic_network_architectures.building_blocks.helper import convert_dim_to_conv_op
from torch import Tensor, nn
from torch.nn import functional as F

from nnunet_reca.blocks import slabs
from nnunet_reca.blocks.conv import transposed_conv
from nnunet_reca.blocks.norm import LayerNorm
from nnunet_reca.blocks.patch import channels_first, channels_last
from nnunet_reca.ops.convolve_tokens import convolve_tokens


def _convolution(input_channels: int, output_channels: int, stride: Sequence[int]) -> nn.Module:
    """3x3(x3) convolution, (B, C_in, *S) -> (B, C_out, *(S / stride))."""
    conv = convert_dim_to_conv_op(len(stride))
    return conv(input_channels, output_channels, kernel_size=3, stride=tuple(stride), padding=1)


def _convolve(conv: nn.Module, x: Tensor, *, gelu: bool) -> Tensor:
    """conv(x), or its GELU; inference on the CPU runs in slabs where it does not stride, hooks are not called then."""
    strides = any(s != 1 for s in conv.stride)  # type: ignore[union-attr]
    if not strides and slabs.runs_by_winograd(conv.weight, x):  # type: ignore[arg-type]
        return slabs.convolution_in_slabs(conv.weight, conv.bias, x, gelu=gelu)  # type: ignore[arg-type]
    return F.gelu(conv(x)) if gelu else conv(x)


class ConvPatchEmbed(nn.Module):
    """Four convolutions, the first and third strided: (B, C, *S) -> tokens (B, *(S / (s_1 s_2)), dim).

    A GELU, then a norm over the channels follow each convolution, but the last, which has the norm only.

    Args:
        input_channels: channels of the image.
        dim: channels of the tokens, an even number; the first two convolutions have half as many.
        strides: of the first and the third convolution, per axis.
    """

    def __init__(self, input_channels: int, dim: int, strides: Sequence[Sequence[int]]) -> None:
        super().__init__()
        one = [1] * len(strides[0])
        widths = [input_channels, dim // 2, dim // 2, dim, dim]
        self.convs = nn.ModuleList(map(_convolution, widths[:-1], widths[1:], [strides[0], one, strides[1], one]))
        self.norms = nn.ModuleList(LayerNorm(width) for width in widths[1:])

    def forward(self, x: Tensor) -> Tensor:
        for conv, norm in zip(self.convs[:-1], self.norms[:-1], strict=True):
            x = channels_first(norm(channels_last(_convolve(conv, x, gelu=True))))
        return self.norms[-1](channels_last(_convolve(self.convs[-1], x, gelu=False)))


class ConvMerging(nn.Module):
    """GELU, norm, strided convolution: (B, *S, dim) -> (B, *(S / stride), 2 dim), contiguous.

    Hooks of the convolution itself are not called, see ``ops.convolve_tokens``.
    """

    def __init__(self, dim: int, stride: Sequence[int]) -> None:
        super().__init__()
        self.norm = LayerNorm(dim)
        self.reduction = _convolution(dim, 2 * dim, stride)

    def forward(self, x: Tensor) -> Tensor:
        conv = self.reduction
        return convolve_tokens(self.norm(F.gelu(x)), conv.weight, conv.bias, conv.stride)  # type: ignore[arg-type]


class ConvExpanding(nn.Module):
    """Norm, transposed convolution: (B, *S, dim) -> (B, *(S stride), dim / 2), contiguous."""

    def __init__(self, dim: int, stride: Sequence[int]) -> None:
        super().__init__()
        self.norm = LayerNorm(dim)
        self.up = transposed_conv(dim, dim // 2, stride, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return channels_last(self.up(channels_first(self.norm(x)))).contiguous()

"""Primus with Recurrent-Attention: tokens of 8^3 voxels, a deep transformer, and a light decoder; versions 1 to 3.

Papers: Wald et al. 2025, "Primus: Enforcing Attention Usage for 3D Medical Image Segmentation", arXiv 2503.01835 (the
network; versions 2 and 3 differ in how tokens are made); "Recurrent-Attention: A robust neural network operator for
medical image segmentation" (the carry, here through all layers, RecA-S). References: ``Primus``, ``PrimusV2`` and
``PrimusV3`` of dynamic_network_architectures 0.4.4, nnU-Net's trainers of the same names.

Deviations; with the published geometry and ``carry="none"`` none changes the output:

- strides come from the caller, 2D or 3D: s_1 to s_n, n between 1 and 3 and any stride per axis, make a token (the
  published one is n = 3, all strides 2, in 3D);
- channels of a head that the axes' rotary embeddings do not fill are not turned (66 channels in 2D);
- another grid than ``grid_size`` interpolates the position embedding (published: an error).
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from dynamic_network_architectures.building_blocks.helper import convert_dim_to_conv_op
from dynamic_network_architectures.building_blocks.patch_encode_decode import LayerNormNd
from dynamic_network_architectures.building_blocks.residual import StackedResidualBlocks
from torch import Tensor, nn

from nnunet_reca.blocks import (
    EvaBlock,
    InstanceNorm,
    LayerNorm,
    SupervisedDecoder,
    TransformerEncoder,
    initialize_weights,
    set_checkpointing,
    transposed_conv,
)
from nnunet_reca.blocks.checks import check_sides, check_strides
from nnunet_reca.ops import resize_position_embedding, rotary_embedding

Strides = Sequence[Sequence[int]]


def total_stride(strides: Strides) -> tuple[int, ...]:
    """Voxels from token to token, per axis."""
    return tuple(math.prod(per_axis) for per_axis in zip(*strides, strict=True))


def token_convolution(input_channels: int, dim: int, size: Sequence[int]) -> nn.Module:
    """Non-overlapping convolution, (B, C, *S) -> (B, dim, *(S / size))."""
    conv = convert_dim_to_conv_op(len(size))
    return conv(input_channels, dim, kernel_size=tuple(size), stride=tuple(size))


class ConvolutionStem(nn.Module):
    """Version 1: a token is one convolution of its voxels, (B, C, *S) -> (B, dim, *(S / (s_1 ... s_n)))."""

    image_convolutions = ("proj",)

    def __init__(self, input_channels: int, dim: int, strides: Strides, channels: Sequence[int]) -> None:
        super().__init__()
        self.proj = token_convolution(input_channels, dim, total_stride(strides))

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class ResidualStem(nn.Module):
    """Version 2: residual blocks at full resolution and for each stride, (B, C, *S) -> (B, dim, *(S / (s_1 ... s_n))).

    Args:
        input_channels: channels of the image.
        dim: channels of the tokens.
        strides: s_1 ... s_n.
        channels: at full resolution and after each stride, n + 1 numbers.
    """

    image_convolutions = ("stem.blocks.0.conv1.conv", "stem.blocks.0.skip.0.conv")
    activation: type[nn.Module] = nn.ReLU

    def __init__(self, input_channels: int, dim: int, strides: Strides, channels: Sequence[int]) -> None:
        super().__init__()
        self.stem = self._residual(input_channels, channels[0], [1] * len(strides[0]), bias=True)
        self.stages = nn.ModuleList(
            self._residual(before, after, stride)
            for (before, after), stride in zip(pairwise(channels), strides, strict=True)
        )
        self.final_proj = token_convolution(channels[-1], dim, [1] * len(strides[0]))

    def _residual(self, before: int, after: int, stride: Sequence[int], *, bias: bool = False) -> nn.Module:
        block = StackedResidualBlocks(
            1,
            convert_dim_to_conv_op(len(stride)),
            before,
            after,
            [3] * len(stride),
            list(stride),
            bias,
            norm_op=InstanceNorm,
            nonlin=self.activation,
            nonlin_kwargs={"inplace": True},
        )
        if before == after and all(s == 1 for s in stride):
            block.blocks[0].skip = nn.Identity()  # a function there, which cannot be pickled
        return block

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.final_proj(x)


class SkipStem(ResidualStem):
    """Version 3: version 2, and the map before each stride adds to the tokens by a convolution and a small factor."""

    activation = nn.LeakyReLU

    def __init__(self, input_channels: int, dim: int, strides: Strides, channels: Sequence[int]) -> None:
        super().__init__(input_channels, dim, strides, channels)
        self.proj_to_tokens = nn.ModuleList(
            token_convolution(width, dim, total_stride(strides[i:])) for i, width in enumerate(channels[:-1])
        )
        self.scale_proj_to_tokens = nn.ParameterList(torch.tensor(1e-5) for _ in strides)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        skips: Tensor | float = 0.0
        for stage, project, scale in zip(self.stages, self.proj_to_tokens, self.scale_proj_to_tokens, strict=True):
            skips = skips + scale * project(x)
            x = stage(x)
        return self.final_proj(x) + skips


#: how tokens are made, by the version of the network
STEMS: dict[int, type[ConvolutionStem] | type[ResidualStem]] = {1: ConvolutionStem, 2: ResidualStem, 3: SkipStem}


class PrimusEncoder(nn.Module):
    """Tokens, position embedding, transformer: (B, C, *S) -> (B, dim, *grid)."""

    #: parameters that are never decayed, as in EVA
    no_weight_decay = ("position_embedding",)

    def __init__(
        self, patch_embed: nn.Module, transformer: TransformerEncoder, grid_size: Sequence[int], dim: int, heads: int
    ) -> None:
        super().__init__()
        self.grid_size = tuple(grid_size)
        self.head_dim = dim // heads
        self.patch_embed = patch_embed
        self.position_embedding = nn.Parameter(torch.zeros(1, math.prod(grid_size), dim))
        nn.init.trunc_normal_(self.position_embedding, std=0.02)
        self.register_buffer("rotary", rotary_embedding(grid_size, self.head_dim), persistent=False)
        self.transformer = transformer

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        grid = x.shape[2:]
        position, rotary = self._positions(grid)
        tokens = self.transformer(x.flatten(2).transpose(1, 2) + position, rotary)
        return tokens.transpose(1, 2).unflatten(2, grid)

    def _positions(self, grid: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Learned embedding, (1, N, dim), and rotary embedding, (N, 2 head_dim), of a grid."""
        if tuple(grid) == self.grid_size:
            return self.position_embedding, self.rotary  # type: ignore[return-value]
        rotary = rotary_embedding(grid, self.head_dim).to(self.position_embedding)
        return resize_position_embedding(self.position_embedding, self.grid_size, grid), rotary


class PrimusDecoder(SupervisedDecoder):
    """Transposed convolutions from tokens to logits, (B, dim, *grid) -> (B, num_classes, *S).

    Its widths depend on the number of classes, so that all of it is the head of the only level.
    """

    def __init__(self, dim: int, num_classes: int, strides: Strides, *, deep_supervision: bool) -> None:
        head = expanding_head(dim, num_classes, strides)
        super().__init__([head], auxiliary_heads=True, deep_supervision=deep_supervision)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        return self.logits([x])


def expanding_head(dim: int, num_classes: int, strides: Strides) -> nn.Sequential:
    """A transposed convolution per stride, the last first; norm and GELU between them.

    The channels fall from ``dim`` towards twice the classes by equal factors, rounded to multiples of 8.
    """
    factor = (dim / (2 * num_classes)) ** (1 / len(strides))
    widths = [dim, *(max(8, round((dim / factor**i + 1e-6) / 8) * 8) for i in range(1, len(strides))), num_classes]
    stages: list[nn.Module] = []
    for (before, after), stride in zip(pairwise(widths), reversed(strides), strict=True):
        expand = transposed_conv(before, after, stride, bias=True)
        last = len(stages) == len(strides) - 1
        stages.append(expand if last else nn.Sequential(expand, LayerNormNd(after), nn.GELU()))
    return nn.Sequential(*stages)


class Primus(nn.Module):
    """Primus with recurrent (RecA) or self-attention transformer, 2D or 3D by the length of the strides.

    ``forward`` maps (B, input_channels, *S) to raw logits (B, num_classes, *S), or, with ``decoder.deep_supervision``,
    to a list of these alone: there is no coarser scale. Each side of S must be a multiple of the total stride.
    Self-attention and RecA have the same state dict.

    Args:
        input_channels: channels of the image.
        num_classes: outputs of the decoder.
        strides: s_0 = 1, then s_1 ... s_n per axis, whose product is the size of a token; n between 1 and 3.
        grid_size: tokens per axis, which is the patch size over the total stride.
        version: 1, 2 or 3, of the layers that make tokens, see :data:`STEMS`.
        stem_channels: of version 2 and 3, at full resolution and after each stride.
        embed_dim: channels of the tokens.
        depth: layers of the transformer.
        num_heads: heads; divides ``embed_dim``.
        mlp_ratio: hidden width of the SwiGLUs over the channels.
        drop_path_rate: of the last layer, rising linearly from 0.
        layer_scale: initial factor of the residual branches.
        carry: Recurrent-Attention through all layers, "sum"; "none" is the published self-attention; others see
            :mod:`nnunet_reca.blocks.carry`.
        deep_supervision: initial value of ``decoder.deep_supervision``.
        use_checkpoint: compute the transformer's activations again in the backward pass instead of keeping them.

    Raises:
        ValueError: where an argument does not fit, naming what was expected.
    """

    #: modules whose width depends on the number of strides
    depth_dependent: ClassVar[tuple[str, ...]] = ("encoder.patch_embed.final_proj",)

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        *,
        strides: Strides,
        grid_size: Sequence[int],
        version: int = 3,
        stem_channels: Sequence[int] = (32, 64, 256, 1024),
        embed_dim: int = 396,
        depth: int = 12,
        num_heads: int = 6,
        mlp_ratio: float = 8 / 3,
        drop_path_rate: float = 0.2,
        layer_scale: float = 0.1,
        carry: str = "sum",
        deep_supervision: bool = False,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        _check_arguments(strides, grid_size, version, stem_channels, depth)
        poolings = strides[1:]
        self.total_stride = total_stride(poolings)
        blocks = [
            EvaBlock(
                embed_dim,
                num_heads,
                mlp_ratio=mlp_ratio,
                drop_path=drop_path_rate * layer / max(1, depth - 1),
                layer_scale=layer_scale,
            )
            for layer in range(depth)
        ]
        self.encoder = PrimusEncoder(
            STEMS[version](input_channels, embed_dim, poolings, stem_channels),
            TransformerEncoder(blocks, LayerNorm(embed_dim), num_heads, carry),
            grid_size,
            embed_dim,
            num_heads,
        )
        #: convolutions that see the image itself
        self.image_convolutions = tuple(f"encoder.patch_embed.{name}" for name in STEMS[version].image_convolutions)
        self.decoder = PrimusDecoder(embed_dim, num_classes, poolings, deep_supervision=deep_supervision)
        if use_checkpoint:
            set_checkpointing(self)

    @staticmethod
    def initialize(module: nn.Module) -> None:
        """Applied by nnU-Net to every module of a new network, a network's parts before itself."""
        initialize_weights(module)
        if isinstance(module, Primus):
            for layer, block in enumerate(module.encoder.transformer.blocks):
                block.rescale(layer)  # type: ignore[operator]

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        check_sides(x, self.total_stride)
        return self.decoder(self.encoder(x))


def _check_arguments(
    strides: Strides, grid_size: Sequence[int], version: int, stem_channels: Sequence[int], depth: int
) -> None:
    n = len(strides) - 1
    if not 1 <= n <= 3:
        raise ValueError(
            f"expected strides of 1 to 3 poolings after the leading 1, got {n} in {[list(s) for s in strides]}; they "
            "make a token, deeper plans are cut to three"
        )
    check_strides(strides)
    if version not in STEMS:
        raise ValueError(f"expected a version of {sorted(STEMS)}, got {version}")
    if len(grid_size) != len(strides[0]) or math.prod(grid_size) < 2 or any(g < 1 for g in grid_size):
        raise ValueError(
            f"expected a grid_size of {len(strides[0])} sides and at least two tokens, got {list(grid_size)}; use the "
            "patch size over the total stride, and a larger patch if that leaves one token"
        )
    if version > 1 and len(stem_channels) != n + 1:
        raise ValueError(f"expected {n + 1} stem_channels for {n} poolings, got {list(stem_channels)}")
    if depth < 1:
        raise ValueError(f"expected a depth of at least 1, got {depth}")

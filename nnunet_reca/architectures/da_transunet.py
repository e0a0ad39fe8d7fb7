"""DA-TransUNet with Recurrent-Attention: a hybrid ResNet, a Vision Transformer, and dual attention on the skips (2D).

Papers: Chen et al. 2021, "TransUNet"; Sun et al. 2024, "DA-TransUNet: integrating spatial and channel dual attention
with transformer U-net for medical image segmentation" (the network); "Recurrent-Attention: A robust neural network
operator for medical image segmentation" (the carry, through all layers of the transformer). References:
CAU-COE-VEICLab/Recurrent-Attention ``DA_Transformer_RecA`` and, with self-attention, ``DA_Transformer``.

Deviations:

- strides come from the caller: s_1 of the root convolution, s_2 of the pooling, s_3 and s_4 of the ResNet's later
  stages, n between 2 and 4 and any stride per axis (the published network is n = 4, all strides 2);
- the image may have any number of channels and any shape; on another grid than ``grid_size`` the position embedding
  is interpolated;
- every decoder scale has a segmentation head for deep supervision (``auxiliary_heads=False`` builds the published one);
- parameters that the published network never uses are not built: the outputs of single branches in the dual-attention
  heads, and the heads that each decoder block has for other channel numbers than its own;
- pooling reaches up to the border (``valid_pooling=True`` is as published);
- an image of one channel is taken as it is (``repeat_single_channel=True`` is as published);
- running statistics in the dual-attention heads average over batches (``attention_norm_momentum=0.95`` is as
  published, and hardly more than the last batch).
"""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from nnunet_reca.blocks import (
    DualAttentionHead,
    HybridResNet,
    SupervisedDecoder,
    VitEncoder,
    conv_norm_relu,
    initialize_weights,
    set_checkpointing,
)
from nnunet_reca.blocks.checks import check_sides, check_strides
from nnunet_reca.ops import resize_position_embedding


class HybridEncoder(nn.Module):
    """ResNet, then dual attention and a transformer on its last map.

    ``forward`` maps (B, C, *S) to n maps, finest first, at strides s_1, s_1 s_2, ...: those of the ResNet, but for the
    last, which is (B, hidden_size, *grid) and comes out of the transformer.
    """

    #: parameters that are never decayed
    no_weight_decay = ("position_embedding",)

    def __init__(
        self,
        resnet: HybridResNet,
        transformer: VitEncoder,
        grid_size: Sequence[int],
        *,
        hidden_size: int,
        dropout: float,
        attention_norm_momentum: float,
    ) -> None:
        super().__init__()
        self.grid_size = tuple(grid_size)
        self.resnet = resnet
        self.patch_embed = nn.Conv2d(resnet.channels[-1], hidden_size, kernel_size=1)
        self.attention = DualAttentionHead(hidden_size, norm_momentum=attention_norm_momentum)
        self.position_embedding = nn.Parameter(torch.zeros(1, math.prod(grid_size), hidden_size))
        nn.init.trunc_normal_(self.position_embedding, std=0.02)
        self.dropout = nn.Dropout(dropout)
        self.transformer = transformer

    def forward(self, x: Tensor) -> list[Tensor]:
        *features, x = self.resnet(x)
        x = self.attention(self.patch_embed(x))
        grid = x.shape[2:]
        tokens = x.flatten(2).transpose(1, 2) + self._positions(grid)
        tokens = self.transformer(self.dropout(tokens))
        return [*features, tokens.transpose(1, 2).unflatten(2, grid)]

    def _positions(self, grid: Sequence[int]) -> Tensor:
        """Position embedding of a grid, (1, N, hidden_size)."""
        if tuple(grid) == self.grid_size:
            return self.position_embedding
        return resize_position_embedding(self.position_embedding, self.grid_size, grid)


class DecoderBlock(nn.Module):
    """Upsample, concatenate the skip after dual attention, convolve twice: (B, C_in, *S) -> (B, C_out, *(S s)).

    With ``skip_channels`` of 0 it takes no skip and ignores the one it is given.
    """

    def __init__(
        self,
        input_channels: int,
        skip_channels: int,
        output_channels: int,
        stride: Sequence[int],
        skip_attention: nn.Module,
    ) -> None:
        super().__init__()
        scale = tuple(float(s) for s in stride)
        self.upsample = nn.Upsample(scale_factor=scale, mode="bilinear", align_corners=True)
        self.takes_skip = skip_channels > 0
        self.skip_attention = skip_attention
        self.refine = nn.Sequential(
            conv_norm_relu(input_channels + skip_channels, output_channels),
            conv_norm_relu(output_channels, output_channels),
        )

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        x = self.upsample(x)
        if self.takes_skip:
            x = torch.cat([x, self.skip_attention(skip)], dim=1)
        return self.refine(x)


class CascadedUpsampler(SupervisedDecoder):
    """Convolution on the transformer's map, then one :class:`DecoderBlock` per stride; ``blocks[0]`` is the finest.

    Levels count from full resolution (0) to the coarsest block's (n-1); each has a head. Block i + 1 may take the
    encoder's map i as a skip; ``skip_channels`` (0 for none) and ``skip_attention`` have an entry per block.
    """

    def __init__(
        self,
        hidden_size: int,
        num_classes: int,
        strides: Sequence[Sequence[int]],
        skip_channels: Sequence[int],
        *,
        bottleneck_channels: int,
        decoder_channels: Sequence[int],
        skip_attention: Sequence[bool],
        attention_norm_momentum: float,
        auxiliary_heads: bool,
        deep_supervision: bool,
    ) -> None:
        heads = [nn.Conv2d(width, num_classes, kernel_size=3, padding=1) for width in decoder_channels]
        super().__init__(heads, auxiliary_heads=auxiliary_heads, deep_supervision=deep_supervision)
        self.bottleneck = conv_norm_relu(hidden_size, bottleneck_channels)
        self.blocks = nn.ModuleList()
        input_channels = [*decoder_channels[1:], bottleneck_channels]
        for i, (width, stride) in enumerate(zip(decoder_channels, strides, strict=True)):
            skip = skip_channels[i]
            head: nn.Module = nn.Identity()
            if skip_attention[i]:
                head = DualAttentionHead(skip, norm_momentum=attention_norm_momentum)
            self.blocks.append(DecoderBlock(input_channels[i], skip, width, stride, head))

    def forward(self, features: Sequence[Tensor]) -> Tensor | list[Tensor]:
        *skips, x = features
        x = self.bottleneck(x)
        levels: list[Tensor] = []
        for block, skip in zip(reversed(self.blocks), [*reversed(skips), None], strict=True):
            x = block(x, skip)
            levels.append(x)
        return self.logits(levels)


class DATransUnet(nn.Module):
    """DA-TransUNet with recurrent (RecA) or self-attention transformer, in 2D.

    ``forward`` maps (B, input_channels, H, W) to raw logits (B, num_classes, H, W), or, with
    ``decoder.deep_supervision``, to the list of logits at strides 1, s_1, s_1 s_2, ... (n maps, finest first). H and W
    must be multiples of the total stride. Self-attention and RecA have the same state dict.

    Args:
        input_channels: channels of the image.
        num_classes: segmentation heads' outputs.
        strides: s_0 = 1, then s_1 ... s_n per axis, as in nnU-Net's plans; n between 2 and 4.
        grid_size: tokens per axis, which is the patch size over the total stride; other inputs interpolate the
            position embedding.
        hidden_size: channels of the transformer.
        num_layers: layers of the transformer.
        num_heads: its heads; divides ``hidden_size``.
        mlp_dim: hidden width of its MLPs.
        dropout: after the position embedding and in the MLPs.
        resnet_layers: bottlenecks of each of the n - 1 stages of the ResNet.
        resnet_width: channels of its root, a multiple of 32; stages have 4, 8, 16 times as many.
        bottleneck_channels: of the convolution that enters the decoder.
        decoder_channels: of the n decoder blocks, finest first.
        n_skip: number of decoder blocks that take a skip, the coarsest ones; default all that have one, n - 1.
        skip_attention: for each of these, finest first, whether its skip passes dual attention; default all but the
            skip at stride s_1 (published: where the upsampled map has 512, 256 or 64 channels, which holds for the
            two coarsest).
        carry: Recurrent-Attention in the transformer, "sum" as published; "none" is its self-attention twin; others see
            :mod:`nnunet_reca.blocks.carry`.
        deep_supervision: initial value of ``decoder.deep_supervision``; False also freezes the coarser heads.
        auxiliary_heads: build the heads of the coarser scales; deep supervision needs them.
        valid_pooling: published pooling, which loses the last row and column; needs strides of 2.
        repeat_single_channel: repeat an image of one channel to three, as published; the first convolution then has
            three input channels where ``input_channels`` is 1.
        attention_norm_momentum: weight of a batch in the running statistics of the dual-attention heads.
        use_checkpoint: compute the transformer's activations again in the backward pass instead of keeping them.

    Raises:
        ValueError: where an argument does not fit, naming what was expected.
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        *,
        strides: Sequence[Sequence[int]],
        grid_size: Sequence[int],
        hidden_size: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        mlp_dim: int = 3072,
        dropout: float = 0.1,
        resnet_layers: Sequence[int] = (3, 4, 9),
        resnet_width: int = 64,
        bottleneck_channels: int = 512,
        decoder_channels: Sequence[int] = (16, 64, 128, 256),
        n_skip: int | None = None,
        skip_attention: Sequence[bool] | None = None,
        carry: str = "sum",
        deep_supervision: bool = False,
        auxiliary_heads: bool = True,
        valid_pooling: bool = False,
        repeat_single_channel: bool = False,
        attention_norm_momentum: float = 0.1,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        poolings = strides[1:]
        n = len(poolings)
        n_skip = n - 1 if n_skip is None else n_skip
        if skip_attention is None:
            skip_attention = [skip > 0 for skip in range(n - 1 - n_skip, n - 1)]
        _check_arguments(strides, grid_size, num_layers, resnet_layers, decoder_channels, n_skip, skip_attention)
        self.total_stride = tuple(math.prod(s) for s in zip(*poolings, strict=True))
        self.repeat_single_channel = repeat_single_channel
        image_channels = 3 if repeat_single_channel and input_channels == 1 else input_channels
        resnet = HybridResNet(image_channels, resnet_width, resnet_layers, poolings, valid_pooling=valid_pooling)
        self.encoder = HybridEncoder(
            resnet,
            VitEncoder(hidden_size, num_layers, num_heads, mlp_dim, dropout=dropout, carry=carry),
            grid_size,
            hidden_size=hidden_size,
            dropout=dropout,
            attention_norm_momentum=attention_norm_momentum,
        )
        self.decoder = CascadedUpsampler(
            hidden_size,
            num_classes,
            poolings,
            [0] * (n - n_skip) + resnet.channels[n - 1 - n_skip : n - 1],
            bottleneck_channels=bottleneck_channels,
            decoder_channels=decoder_channels,
            skip_attention=[False] * (n - n_skip) + list(skip_attention),
            attention_norm_momentum=attention_norm_momentum,
            auxiliary_heads=auxiliary_heads,
            deep_supervision=deep_supervision,
        )
        if use_checkpoint:
            set_checkpointing(self)

    #: applied by nnU-Net to every module of a new network
    initialize = staticmethod(initialize_weights)
    #: convolutions that see the image itself
    image_convolutions: ClassVar[tuple[str, ...]] = ("encoder.resnet.root.0",)
    #: modules whose width depends on the number of strides; ``*`` is any index
    depth_dependent: ClassVar[tuple[str, ...]] = (
        "encoder.patch_embed",
        "decoder.blocks.*.refine.0",
        "decoder.blocks.*.skip_attention",
    )

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        check_sides(x, self.total_stride)
        if self.repeat_single_channel and x.shape[1] == 1:
            x = x.expand(-1, 3, -1, -1)
        return self.decoder(self.encoder(x))


def _check_arguments(
    strides: Sequence[Sequence[int]],
    grid_size: Sequence[int],
    num_layers: int,
    resnet_layers: Sequence[int],
    decoder_channels: Sequence[int],
    n_skip: int,
    skip_attention: Sequence[bool],
) -> None:
    n = len(strides) - 1
    if any(len(s) != 2 for s in strides):
        raise ValueError(
            f"expected strides for two axes, got {[list(s) for s in strides]}; DATransUnet is a 2D network, use the "
            "2d configuration or another network"
        )
    if not 2 <= n <= 4:
        raise ValueError(
            f"expected strides of 2 to 4 poolings after the leading 1, got {n} in {[list(s) for s in strides]}; "
            "DATransUnet needs a plan with at least two poolings, and deeper ones are cut to four"
        )
    check_strides(strides)
    if len(grid_size) != 2 or any(g < 1 for g in grid_size):
        raise ValueError(
            f"expected two positive sides as grid_size, got {list(grid_size)}; use the patch size over the total stride"
        )
    if num_layers < 1:
        raise ValueError(f"expected num_layers of at least 1, got {num_layers}")
    if not 0 <= n_skip < n:
        raise ValueError(f"expected n_skip between 0 and {n - 1} for {n} poolings, got {n_skip}")
    for name, value, length, source in (
        ("resnet_layers", resnet_layers, n - 1, f"{n} poolings"),
        ("decoder_channels", decoder_channels, n, f"{n} poolings"),
        ("skip_attention", skip_attention, n_skip, f"{n_skip} skips"),
    ):
        if len(value) != length:
            raise ValueError(f"expected {length} {name} for {source}, got {len(value)}: {list(value)}")

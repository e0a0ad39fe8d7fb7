"""Swin-Unet with Recurrent-Attention: a U-Net of Swin Transformer blocks without convolutions.

Papers: Cao et al. 2022, "Swin-Unet: Unet-like Pure Transformer for Medical Image Segmentation" (the network);
"Recurrent-Attention: A robust neural network operator for medical image segmentation" (the carry, in the encoder's
stages). References: HuCaoFighting/Swin-Unet ``SwinTransformerSys``; CAU-COE-VEICLab/Recurrent-Attention
``RecASwinTransformerSys_Encoder``.

Deviations; with the published arguments none changes the output:

- strides come from the caller, in 2D or 3D: s_1 embeds patches, s_2 to s_n merge them, n of at least 2 and any stride
  per axis (the published network is n = 4, s_1 = 4, the others 2, in 2D and for square images);
- maps that the window does not divide are padded, smaller ones shrink it per axis (published: an error);
- every decoder scale has a segmentation head for deep supervision (``auxiliary_heads=False`` builds the published one).
"""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from nnunet_reca.blocks import (
    LayerNorm,
    PatchEmbed,
    PatchExpand,
    PatchMerging,
    SupervisedDecoder,
    SwinStage,
    arrange,
    channels_first,
    drop_path_rates,
    initialize_weights,
    set_checkpointing,
)
from nnunet_reca.blocks.checks import check_sides, check_strides, per_axis
from nnunet_reca.blocks.mlp import join_parts
from nnunet_reca.ops import layer_norm
from nnunet_reca.ops.slabs import infers_on_cpu


class SwinUnetEncoder(nn.Module):
    """Patch embedding, then the given stages of Swin blocks, with patch merging between them.

    ``forward`` maps (B, C, *S) to the token maps that enter the stages, except that the last one is the normalised
    output of the last stage: (B, *S_i, embed_dim * 2^i), i = 0 ... n-1, at strides s_1, s_1 s_2, ...
    """

    def __init__(
        self, input_channels: int, embed_dim: int, strides: Sequence[Sequence[int]], stages: Sequence[SwinStage]
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(input_channels, embed_dim, strides[0])
        self.embed_norm = LayerNorm(embed_dim)
        self.stages = nn.ModuleList(stages)
        self.downsamples = nn.ModuleList(PatchMerging(embed_dim * 2**i, stride) for i, stride in enumerate(strides[1:]))
        self.norm = LayerNorm(embed_dim * 2 ** (len(stages) - 1))

    def forward(self, x: Tensor) -> list[Tensor]:
        tokens = self.embed_norm(self.patch_embed(x))
        features = []
        for stage, downsample in zip(self.stages[:-1], self.downsamples, strict=True):
            features.append(tokens)
            tokens = downsample(stage(tokens))
        return [*features, self.norm(self.stages[-1](tokens))]


class TokenHead(nn.Linear):
    """Logits of tokens, normalised before: (B, *S, C) -> (B, num_classes, *S)."""

    def forward(self, x: Tensor) -> Tensor:
        return channels_first(super().forward(layer_norm(x)))


class SwinUnetDecoder(SupervisedDecoder):
    """Expand, join the skip, refine by a stage of Swin blocks, level by level; then expand to full resolution.

    Levels count from full resolution (0) to the encoder's last stage (n); the given stages are those of levels
    1 ... n-1. Levels 0 ... n-1 have heads.
    """

    def __init__(
        self,
        embed_dim: int,
        num_classes: int,
        strides: Sequence[Sequence[int]],
        stages: Sequence[SwinStage],
        *,
        auxiliary_heads: bool,
        deep_supervision: bool,
    ) -> None:
        width = [embed_dim * 2**i for i in range(len(strides))]
        # as published: the head at full resolution has no bias
        finest = nn.Linear(embed_dim, num_classes, bias=False)
        heads = [finest, *(TokenHead(w, num_classes) for w in width[:-1])]
        super().__init__(heads, auxiliary_heads=auxiliary_heads, deep_supervision=deep_supervision)
        self.expands = nn.ModuleList(PatchExpand(2 * w, w, s) for w, s in zip(width, strides[1:], strict=False))
        self.fusions = nn.ModuleList(nn.Linear(2 * w, w) for w in width[:-1])
        self.stages = nn.ModuleList(stages)
        self.norm = LayerNorm(embed_dim)
        self.final_expand = PatchExpand(embed_dim, embed_dim, strides[0])

    def forward(self, features: Sequence[Tensor]) -> Tensor | list[Tensor]:
        x = features[-1]
        levels: list[Tensor] = []
        ups = zip(self.expands, self.fusions, self.stages, features[:-1], strict=True)
        for expand, fuse, stage, skip in reversed(list(ups)):
            x = stage(fuse(torch.cat([expand(x), skip], dim=-1)))
            levels.append(x)
        return self.logits([*levels, self.norm(x)])

    def finest_logits(self, level: Tensor) -> Tensor:
        """The head comes before the expanded tokens are put in their places: there are fewer logits than channels."""

        def windows(tokens: Tensor) -> Tensor:
            return self.seg_layers[0](self.final_expand.windows(tokens))

        channels = self.final_expand.expand.out_features
        found = join_parts(level, windows, channels) if infers_on_cpu(level) else windows(level)
        return channels_first(arrange(found, self.final_expand.stride))


class SwinUnet(nn.Module):
    """Swin-Unet with recurrent (RecA) or self-attention encoder, 2D or 3D by the length of the strides.

    ``forward`` maps (B, input_channels, *S) to raw logits (B, num_classes, *S), or, with ``decoder.deep_supervision``,
    to the list of logits at strides 1, s_1, s_1 s_2, ... (n maps, finest first). Each side of S must be a multiple of
    the total stride. Self-attention and RecA have the same state dict. The decoder has self-attention in both and
    mirrors the encoder's depths, heads and windows.

    Args:
        input_channels: channels of the image.
        num_classes: segmentation heads' outputs.
        strides: s_0 = 1, then the size s_1 of a patch and the merges s_2 ... s_n, per axis; n is at least 2. From the
            strides of an nnU-Net plan, s_1 is the product of the first two poolings and the others follow.
        embed_dim: channels after patch embedding; doubled by each merge.
        depths: blocks of each of the n stages.
        num_heads: heads of each stage.
        window_sizes: window of each stage, per axis (or one number); maps smaller than it shrink it.
        mlp_ratio: hidden width of the MLPs over the channels.
        drop_path_rate: of the last block, rising linearly from 0; decoder stages take their encoder stage's rates.
        carry: Recurrent-Attention in the encoder, "sum" as published; "none" is its self-attention twin; others see
            :class:`nnunet_reca.blocks.SwinStage`.
        deep_supervision: initial value of ``decoder.deep_supervision``; False also freezes the coarser heads.
        auxiliary_heads: build the heads of the coarser scales; deep supervision needs them.
        use_checkpoint: compute activations again in the backward pass instead of keeping them; gradients stay the same.

    Raises:
        ValueError: where an argument does not fit, naming what was expected.
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        *,
        strides: Sequence[Sequence[int]],
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 2, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_sizes: Sequence[Sequence[int] | int] = (7, 7, 7, 7),
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.1,
        carry: str = "sum",
        deep_supervision: bool = False,
        auxiliary_heads: bool = True,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        _check_arguments(strides, embed_dim, depths, num_heads, window_sizes)
        poolings, dimensions = strides[1:], len(strides[0])
        self.total_stride = tuple(math.prod(s) for s in zip(*poolings, strict=True))
        windows = [per_axis(w, dimensions) for w in window_sizes]
        drop_paths = drop_path_rates(drop_path_rate, depths)

        def stages(count: int, carry: str) -> list[SwinStage]:
            return [
                SwinStage(
                    embed_dim * 2**i,
                    depths[i],
                    num_heads[i],
                    windows[i],
                    mlp_ratio=mlp_ratio,
                    drop_path=drop_paths[i],
                    carry=carry,
                )
                for i in range(count)
            ]

        n = len(poolings)
        self.encoder = SwinUnetEncoder(input_channels, embed_dim, poolings, stages(n, carry))
        self.decoder = SwinUnetDecoder(
            embed_dim,
            num_classes,
            poolings,
            stages(n - 1, "none"),
            auxiliary_heads=auxiliary_heads,
            deep_supervision=deep_supervision,
        )
        if use_checkpoint:
            set_checkpointing(self)

    #: applied by nnU-Net to every module of a new network
    initialize = staticmethod(initialize_weights)
    #: convolutions that see the image itself
    image_convolutions: ClassVar[tuple[str, ...]] = ("encoder.patch_embed.proj",)
    #: modules whose width depends on the number of strides; ``*`` is any index
    depth_dependent: ClassVar[tuple[str, ...]] = ("encoder.norm",)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        check_sides(x, self.total_stride)
        return self.decoder(self.encoder(x))


def _check_arguments(
    strides: Sequence[Sequence[int]],
    embed_dim: int,
    depths: Sequence[int],
    num_heads: Sequence[int],
    window_sizes: Sequence[Sequence[int] | int],
) -> None:
    n = len(strides) - 1
    if n < 2:
        raise ValueError(
            f"expected strides of a patch embedding and at least one merge after the leading 1, got "
            f"{[list(s) for s in strides]}; give [1, ...], the patch and a merge"
        )
    check_strides(strides)
    if embed_dim < 1:
        raise ValueError(f"expected embed_dim of at least 1, got {embed_dim}; the published network has 96")
    if any(depth < 1 for depth in depths):
        raise ValueError(f"expected depths of at least 1, got {list(depths)}")
    for name, value in (("depths", depths), ("num_heads", num_heads), ("window_sizes", window_sizes)):
        if len(value) != n:
            raise ValueError(f"expected {n} {name}, one per stride after the first, got {len(value)}: {value}")

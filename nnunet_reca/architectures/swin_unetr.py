"""SwinUNETR with Recurrent-Attention: a Swin Transformer encoder and a residual convolutional decoder.

Papers: Hatamizadeh et al. 2022, "Swin UNETR: Swin Transformers for Semantic Segmentation of Brain Tumors in MRI Images"
(the network); "Recurrent-Attention: A robust neural network operator for medical image segmentation" (the carry, in the
encoder's stages). References: MONAI ``SwinUNETR``; CAU-COE-VEICLab/Recurrent-Attention ``SwinUNETRRecA``.

Deviations, each reversible:

- strides come from the caller: s_1 embeds patches, s_2 to s_n merge them, n between 2 and 5 and any stride per axis
  (the published network is n = 5, all strides 2);
- every decoder scale has a segmentation head for deep supervision (``auxiliary_heads=False`` builds the published one);
- a window shrunk to a small map takes the exact relative positions (``index_scheme="cropped"`` is as published);
- merging takes each sub-lattice once (``duplicated_sublattices=True`` is as published, MONAI's old ``merging``).
"""

import math
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from nnunet_reca.blocks import (
    PatchEmbed,
    PatchMerging,
    ResidualBlock,
    SupervisedDecoder,
    SwinStage,
    UpBlock,
    channels_first,
    drop_path_rates,
    initialize_weights,
    segmentation_head,
    set_checkpointing,
)
from nnunet_reca.blocks.checks import check_sides, check_strides, per_axis
from nnunet_reca.ops import layer_norm
from nnunet_reca.ops.relative_position import IndexScheme


class SwinEncoder(nn.Module):
    """Patch embedding, then the given stages of Swin blocks, each followed by patch merging.

    ``forward`` maps (B, C, *S) to n maps (B, feature_size * 2^i, *S_i), i = 0 ... n-1, at strides s_1, s_1 s_2, ...;
    they are normalised over their channels for the decoder, while the trunk goes on with the raw tokens.
    """

    def __init__(
        self,
        input_channels: int,
        feature_size: int,
        strides: Sequence[Sequence[int]],
        stages: Sequence[SwinStage],
        *,
        duplicated_sublattices: bool,
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(input_channels, feature_size, strides[0])
        self.stages = nn.ModuleList(stages)
        self.downsamples = nn.ModuleList(
            PatchMerging(feature_size * 2**i, stride, duplicated_sublattices=duplicated_sublattices)
            for i, stride in enumerate(strides[1:])
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        tokens = self.patch_embed(x)
        features = [self._normalised(tokens)]
        for stage, downsample in zip(self.stages, self.downsamples, strict=True):
            tokens = downsample(stage(tokens))
            features.append(self._normalised(tokens))
        return features

    @staticmethod
    def _normalised(tokens: Tensor) -> Tensor:
        return channels_first(layer_norm(tokens))


class UNETRDecoder(SupervisedDecoder):
    """Residual blocks on the image, the skips and the bottleneck, then one :class:`UpBlock` per stride.

    Levels count from full resolution (0) to the bottleneck (n); the skip next to the bottleneck is taken as it is.
    Levels 0 ... n-1 have heads.
    """

    def __init__(
        self,
        input_channels: int,
        feature_size: int,
        num_classes: int,
        strides: Sequence[Sequence[int]],
        kernel_sizes: Sequence[Sequence[int]],
        *,
        auxiliary_heads: bool,
        deep_supervision: bool,
    ) -> None:
        n = len(strides)
        width = [feature_size] + [feature_size * 2**i for i in range(n)]
        heads = [segmentation_head(w, num_classes, len(strides[0])) for w in width[:n]]
        super().__init__(heads, auxiliary_heads=auxiliary_heads, deep_supervision=deep_supervision)
        self.stem = ResidualBlock(input_channels, feature_size, kernel_sizes[0])
        self.skips = nn.ModuleList(ResidualBlock(width[i], width[i], kernel_sizes[i]) for i in range(1, n - 1))
        self.bottleneck = ResidualBlock(width[n], width[n], kernel_sizes[n])
        self.ups = nn.ModuleList(UpBlock(width[i + 1], width[i], strides[i], kernel_sizes[i]) for i in range(n))

    def forward(self, image: Tensor, features: Sequence[Tensor]) -> Tensor | list[Tensor]:
        refined = [self.run(block, f) for block, f in zip(self.skips, features[:-2], strict=True)]
        skips = [self.run(self.stem, image), *refined, features[-2]]
        x = self.run(self.bottleneck, features[-1])
        levels: list[Tensor] = []
        for up, skip in zip(reversed(self.ups), reversed(skips), strict=True):
            x = self.run(up, x, skip)
            levels.append(x)
        return self.logits(levels)


class SwinUNETR(nn.Module):
    """SwinUNETR with recurrent (RecA) or self-attention encoder, 2D or 3D by the length of the strides.

    ``forward`` maps (B, input_channels, *S) to raw logits (B, num_classes, *S), or, with ``decoder.deep_supervision``,
    to the list of logits at strides 1, s_1, s_1 s_2, ... (n maps, finest first). Each side of S must be a multiple of
    the total stride. Self-attention and RecA have the same state dict.

    Args:
        input_channels: channels of the image.
        num_classes: segmentation heads' outputs.
        strides: s_0 = 1, then s_1 ... s_n per axis, as in nnU-Net's plans; n between 2 and 5.
        feature_size: channels after patch embedding, a multiple of 12; doubled by each merge.
        depths: blocks of each of the n - 1 stages.
        num_heads: heads of each stage.
        window_sizes: window of each stage, per axis (or one number); maps smaller than it shrink it.
        kernel_sizes: of the convolutions at levels 0 ... n; default 3.
        mlp_ratio: hidden width of the MLPs over the channels.
        drop_path_rate: of the last block, rising linearly from 0.
        carry: Recurrent-Attention in the encoder, "sum" as published; "none" is its self-attention twin; others see
            :class:`nnunet_reca.blocks.SwinStage`.
        deep_supervision: initial value of ``decoder.deep_supervision``; False also freezes the coarser heads.
        auxiliary_heads: build the heads of the coarser scales; deep supervision needs them.
        index_scheme: "exact", or "cropped" as published.
        duplicated_sublattices: published merging instead of the correct one; needs strides of 2 on three axes.
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
        feature_size: int = 48,
        depths: Sequence[int] = (2, 2, 2, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_sizes: Sequence[Sequence[int] | int] = (7, 7, 7, 7),
        kernel_sizes: Sequence[Sequence[int]] | None = None,
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.0,
        carry: str = "sum",
        deep_supervision: bool = False,
        auxiliary_heads: bool = True,
        index_scheme: IndexScheme = "exact",
        duplicated_sublattices: bool = False,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        _check_arguments(strides, feature_size, depths, num_heads, window_sizes, kernel_sizes)
        poolings, dimensions = strides[1:], len(strides[0])
        self.total_stride = tuple(math.prod(s) for s in zip(*poolings, strict=True))
        drop_paths = drop_path_rates(drop_path_rate, depths)
        stages = [
            SwinStage(
                feature_size * 2**i,
                depths[i],
                num_heads[i],
                per_axis(window_sizes[i], dimensions),
                mlp_ratio=mlp_ratio,
                drop_path=drop_paths[i],
                carry=carry,
                index_scheme=index_scheme,
            )
            for i in range(len(poolings) - 1)
        ]
        self.encoder = SwinEncoder(
            input_channels, feature_size, poolings, stages, duplicated_sublattices=duplicated_sublattices
        )
        self.decoder = UNETRDecoder(
            input_channels,
            feature_size,
            num_classes,
            poolings,
            kernel_sizes or [[3] * dimensions] * len(strides),
            auxiliary_heads=auxiliary_heads,
            deep_supervision=deep_supervision,
        )
        if use_checkpoint:
            set_checkpointing(self)

    #: applied by nnU-Net to every module of a new network
    initialize = staticmethod(initialize_weights)
    #: convolutions that see the image itself
    image_convolutions: ClassVar[tuple[str, ...]] = (
        "encoder.patch_embed.proj",
        "decoder.stem.conv1",
        "decoder.stem.skip",
    )
    #: modules whose width depends on the number of strides; ``*`` is any index
    depth_dependent: ClassVar[tuple[str, ...]] = ("decoder.bottleneck", "decoder.skips")

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        check_sides(x, self.total_stride)
        return self.decoder(x, self.encoder(x))


def _check_arguments(
    strides: Sequence[Sequence[int]],
    feature_size: int,
    depths: Sequence[int],
    num_heads: Sequence[int],
    window_sizes: Sequence[Sequence[int] | int],
    kernel_sizes: Sequence[Sequence[int]] | None,
) -> None:
    n = len(strides) - 1
    if not 2 <= n <= 5:
        raise ValueError(
            f"expected strides of 2 to 5 poolings after the leading 1, got {n} in {[list(s) for s in strides]}; "
            "SwinUNETR needs a plan with at least two poolings, and deeper ones are cut to five"
        )
    check_strides(strides)
    if any(depth < 1 for depth in depths):
        raise ValueError(f"expected depths of at least 1, got {list(depths)}")
    if feature_size <= 0 or feature_size % 12:
        below = max(12, feature_size // 12 * 12)
        raise ValueError(
            f"expected feature_size to be a positive multiple of 12, got {feature_size}; use {below} or {below + 12}"
        )
    for name, value, length in (
        ("depths", depths, n - 1),
        ("num_heads", num_heads, n - 1),
        ("window_sizes", window_sizes, n - 1),
        ("kernel_sizes", kernel_sizes, n + 1),
    ):
        if value is not None and len(value) != length:
            raise ValueError(f"expected {length} {name} for {n} poolings, got {len(value)}: {value}")

"""nnFormer with Recurrent-Attention: Swin stages in the encoder and the decoder, convolutions in between.

Papers: Zhou et al. 2023, "nnFormer: Volumetric Medical Image Segmentation via a 3D Transformer" (the network);
"Recurrent-Attention: A robust neural network operator for medical image segmentation" (the carry, in the encoder's
stages; the decoder keeps self-attention). References: 282857341/nnFormer; CAU-COE-VEICLab/Recurrent-Attention
``nnFormerRecA``.

Deviations, each reversible:

- strides come from the caller, any per axis, 2D or 3D: the patch embedding takes the first two, the stages merge by the
  others (the published network embeds patches of (2, 4, 4) and merges by 2 three times, in 3D);
- every decoder scale has a segmentation head for deep supervision (``auxiliary_heads=False`` builds only the finest);
- relative positions are exact (``index_scheme="nnformer"`` is as published);
- on small maps the window shrinks, and its shift is dropped, per axis (the published network takes a cubic window of
  the shortest side, unshifted on all axes: say so with ``window_sizes`` and ``shift_sizes``).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from nnunet_reca.blocks import (
    ConvExpanding,
    ConvMerging,
    ConvPatchEmbed,
    LayerNorm,
    SupervisedDecoder,
    SwinBlock,
    SwinCrossBlock,
    SwinStage,
    channels_first,
    drop_path_rates,
    initialize_weights,
    set_checkpointing,
    transposed_conv,
)
from nnunet_reca.blocks.checks import check_sides, check_strides, per_axis
from nnunet_reca.ops.relative_position import IndexScheme


@dataclass(frozen=True)
class StageShape:
    """What an encoder stage and the decoder stage of the same resolution have in common."""

    dim: int
    depth: int
    num_heads: int
    window_size: Sequence[int]
    shift_size: Sequence[int]
    mlp_ratio: float
    index_scheme: IndexScheme


class NnFormerEncoder(nn.Module):
    """Patch embedding, then the given stages of Swin blocks with a strided convolution between each two.

    ``forward`` maps (B, C, *S) to one token map (B, *S_i, dim_i) per stage, normalised for the decoder, finest first;
    the trunk goes on with the raw tokens.
    """

    def __init__(
        self,
        input_channels: int,
        dims: Sequence[int],
        patch_embed_strides: Sequence[Sequence[int]],
        merges: Sequence[Sequence[int]],
        stages: Sequence[SwinStage],
    ) -> None:
        super().__init__()
        self.patch_embed = ConvPatchEmbed(input_channels, dims[0], patch_embed_strides)
        self.stages = nn.ModuleList(stages)
        self.norms = nn.ModuleList(map(LayerNorm, dims))
        self.downsamples = nn.ModuleList(map(ConvMerging, dims[:-1], merges))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stages[0](self.patch_embed(x))
        features = [self.norms[0](x)]
        for downsample, stage, norm in zip(self.downsamples, self.stages[1:], self.norms[1:], strict=True):
            x = stage(downsample(x))
            features.append(norm(x))
        return features


class UpStage(nn.Module):
    """Upsample, look at the skip, then shifted blocks: (B, *S, 2 dim), (B, *(S stride), dim) -> (B, *(S stride), dim).

    Only the first block, whose windows are not shifted, sees the skip; all others are shifted.
    """

    def __init__(self, shape: StageShape, stride: Sequence[int], drop_path: Sequence[float]) -> None:
        super().__init__()
        self.upsample = ConvExpanding(2 * shape.dim, stride)
        width, ratio, scheme = (shape.dim, shape.num_heads, shape.window_size), shape.mlp_ratio, shape.index_scheme
        cross = SwinCrossBlock(*width, mlp_ratio=ratio, drop_path=drop_path[0], index_scheme=scheme)
        shifted = (
            SwinBlock(*width, shape.shift_size, mlp_ratio=ratio, drop_path=rate, index_scheme=scheme)
            for rate in drop_path[1:]
        )
        self.blocks = nn.ModuleList([cross, *shifted])

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.blocks[0](self.upsample(x), skip)
        for block in self.blocks[1:]:
            x, _ = block(x)
        return x


class NnFormerDecoder(SupervisedDecoder):
    """One :class:`UpStage` per encoder stage but the deepest; ``stages[0]`` is the finest, like the encoder's.

    Each stage has a head, which expands its tokens by the token patch to logits.
    """

    def __init__(
        self,
        num_classes: int,
        shapes: Sequence[StageShape],
        patch: Sequence[int],
        merges: Sequence[Sequence[int]],
        *,
        drop_path_rate: float,
        auxiliary_heads: bool,
        deep_supervision: bool,
    ) -> None:
        heads = [transposed_conv(shape.dim, num_classes, patch, bias=True) for shape in shapes]
        super().__init__(heads, auxiliary_heads=auxiliary_heads, deep_supervision=deep_supervision)
        # the rates rise in the order of computation, from the coarsest stage to the finest
        rates = drop_path_rates(drop_path_rate, [s.depth for s in reversed(shapes)])[::-1]
        self.stages = nn.ModuleList(map(UpStage, shapes, merges, rates))

    def forward(self, features: Sequence[Tensor]) -> Tensor | list[Tensor]:
        x = features[-1]
        levels: list[Tensor] = []
        for stage, skip in zip(reversed(self.stages), reversed(features[:-1]), strict=True):
            x = self.run(stage, x, skip)
            levels.append(channels_first(x))
        return self.logits(levels)


class NnFormer(nn.Module):
    """nnFormer with recurrent (RecA) or self-attention encoder, 2D or 3D by the length of the strides.

    ``forward`` maps (B, input_channels, *S) to raw logits (B, num_classes, *S), or, with ``decoder.deep_supervision``,
    to the list of logits at strides 1, strides[1], strides[1] strides[2], ..., finest first, one for each stage but the
    deepest. Each side of S must be a multiple of the total stride. Self-attention and RecA have the same state dict.

    Args:
        input_channels: channels of the image.
        num_classes: segmentation heads' outputs.
        strides: of the output pyramid, per axis: 1, then the merge between each two encoder stages; in terms of the
            strides s_1 ... s_n of nnU-Net's plan: 1, s_3 ... s_n. Their number, at least 2, is that of the stages.
        patch_embed_strides: of the two strided convolutions that make tokens, s_1 and s_2; a token covers s_1 s_2.
        embed_dim: channels of the first stage, an even number; doubled by each merge.
        depths: blocks of each encoder stage, at least 1; the decoder's stages are as deep as the encoder's.
        num_heads: heads of each stage.
        window_sizes: window of each stage, per axis (or one number); maps smaller than it shrink it.
        shift_sizes: shift of the shifted blocks of each stage, alike; default half a window. Dropped on an axis that
            one window covers.
        mlp_ratio: hidden width of the MLPs over the channels.
        drop_path_rate: of the last block, rising linearly from 0, in the encoder and again in the decoder.
        carry: Recurrent-Attention in the encoder, "sum" as published; "none" is its self-attention twin; others see
            :class:`nnunet_reca.blocks.SwinStage`.
        deep_supervision: initial value of ``decoder.deep_supervision``; False also freezes the coarser heads.
        auxiliary_heads: build the heads of the coarser scales; deep supervision needs them.
        index_scheme: "exact", or "nnformer" as published, which needs cubic windows.
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
        patch_embed_strides: Sequence[Sequence[int]],
        embed_dim: int = 192,
        depths: Sequence[int] = (2, 2, 2, 2),
        num_heads: Sequence[int] = (6, 12, 24, 48),
        window_sizes: Sequence[Sequence[int] | int] = (4, 4, 8, 4),
        shift_sizes: Sequence[Sequence[int] | int] | None = None,
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.2,
        carry: str = "sum",
        deep_supervision: bool = False,
        auxiliary_heads: bool = True,
        index_scheme: IndexScheme = "exact",
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        _check_strides(strides, patch_embed_strides)
        _check_stages(len(strides), embed_dim, depths, num_heads, window_sizes, shift_sizes)
        windows = _windows_and_shifts(window_sizes, shift_sizes, len(strides[0]))
        if index_scheme == "nnformer" and any(len(window) != 3 or len(set(window)) > 1 for window, _ in windows):
            raise ValueError(
                f"expected cubic windows for the published index, got {list(window_sizes)} in {len(strides[0])}D; "
                "change window_sizes or use index_scheme='exact'"
            )
        shapes = [
            StageShape(embed_dim * 2**i, depth, heads, window, shift, mlp_ratio, index_scheme)
            for i, (depth, heads, (window, shift)) in enumerate(zip(depths, num_heads, windows, strict=True))
        ]
        patch = [math.prod(s) for s in zip(*patch_embed_strides, strict=True)]
        self.total_stride = tuple(math.prod(s) for s in zip(patch, *strides, strict=True))
        stages = [
            SwinStage(
                shape.dim,
                shape.depth,
                shape.num_heads,
                shape.window_size,
                shift_size=shape.shift_size,
                mlp_ratio=mlp_ratio,
                drop_path=drop_path,
                carry=carry,
                index_scheme=index_scheme,
            )
            for shape, drop_path in zip(shapes, drop_path_rates(drop_path_rate, depths), strict=True)
        ]
        dims = [shape.dim for shape in shapes]
        self.encoder = NnFormerEncoder(input_channels, dims, patch_embed_strides, strides[1:], stages)
        self.decoder = NnFormerDecoder(
            num_classes,
            shapes[:-1],
            patch,
            strides[1:],
            drop_path_rate=drop_path_rate,
            auxiliary_heads=auxiliary_heads,
            deep_supervision=deep_supervision,
        )
        if use_checkpoint:
            set_checkpointing(self)

    #: applied by nnU-Net to every module of a new network
    initialize = staticmethod(initialize_weights)
    #: convolutions that see the image itself
    image_convolutions: ClassVar[tuple[str, ...]] = ("encoder.patch_embed.convs.0",)
    #: modules whose width depends on the number of strides; ``*`` is any index
    depth_dependent: ClassVar[tuple[str, ...]] = ()

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        check_sides(x, self.total_stride)
        return self.decoder(self.encoder(x))


def _windows_and_shifts(
    window_sizes: Sequence[Sequence[int] | int], shift_sizes: Sequence[Sequence[int] | int] | None, dimensions: int
) -> list[tuple[list[int], list[int]]]:
    """Window and shift of each stage, per axis."""
    windows = [per_axis(window, dimensions) for window in window_sizes]
    if shift_sizes is None:
        shifts = [[w // 2 for w in window] for window in windows]
    else:
        shifts = [per_axis(shift, dimensions) for shift in shift_sizes]
    for window, shift in zip(windows, shifts, strict=True):
        fits = len(window) == len(shift) == dimensions and all(0 <= d < w for d, w in zip(shift, window, strict=True))
        if not fits:
            raise ValueError(
                f"expected {dimensions} axes with 0 <= shift < window, got window {window} and shift {shift}; "
                "change window_sizes or shift_sizes"
            )
    return list(zip(windows, shifts, strict=True))


def _check_strides(strides: Sequence[Sequence[int]], patch_embed_strides: Sequence[Sequence[int]]) -> None:
    if len(strides) < 2:
        raise ValueError(
            f"expected strides of at least two stages, got {[list(s) for s in strides]}; "
            "give a leading 1 and one stride for each merge"
        )
    check_strides([*strides, *patch_embed_strides])
    if len(patch_embed_strides) != 2:
        raise ValueError(
            f"expected 2 patch_embed_strides, the plan's first two, got {[list(s) for s in patch_embed_strides]}"
        )


def _check_stages(
    stages: int,
    embed_dim: int,
    depths: Sequence[int],
    num_heads: Sequence[int],
    window_sizes: Sequence[Sequence[int] | int],
    shift_sizes: Sequence[Sequence[int] | int] | None,
) -> None:
    if embed_dim < 2 or embed_dim % 2:
        raise ValueError(f"expected an even embed_dim, got {embed_dim}; use {max(2, embed_dim + 1)}")
    for name, value in (
        ("depths", depths),
        ("num_heads", num_heads),
        ("window_sizes", window_sizes),
        ("shift_sizes", shift_sizes),
    ):
        if value is not None and len(value) != stages:
            raise ValueError(f"expected {stages} {name}, one for each of the strides, got {len(value)}: {value}")
    if any(depth < 1 for depth in depths):
        raise ValueError(f"expected depths of at least 1, got {list(depths)}; the decoder needs a block per stage")

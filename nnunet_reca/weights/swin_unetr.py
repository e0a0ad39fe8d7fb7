"""SwinUNETR of the RecA authors and of MONAI: rename table and constructor arguments.

Both share one layout (``swinViT.*``, ``encoder1`` ... ``encoder10``, ``decoder5`` ... ``decoder1``, ``out``).
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from nnunet_reca.blocks import PatchMerging
from nnunet_reca.weights.rename import Rule, reorder_sublattices

Merging = Literal["merging", "mergingv2", "duplicated"]

_CONV_NAMES = (("conv1", "conv1"), ("conv2", "conv2"), ("conv3", "skip.0"))

#: Order of the merged sub-lattices in the published code, as row-major ranks of their offsets (which is our order).
_SUBLATTICE_ORDER: dict[tuple[int, Merging], tuple[int, ...]] = {
    (2, "merging"): (0, 2, 1, 3),
    (2, "mergingv2"): (0, 2, 1, 3),
    (3, "merging"): (0, 4, 2, 1, 6, 5, 3, 7),
}


def swin_unetr_rules(dimensions: int, merging: Merging, *, fold_duplicates: bool = False) -> list[Rule]:
    """Rename table, published layout -> :class:`nnunet_reca.architectures.SwinUNETR`.

    Args:
        dimensions: 2 or 3.
        merging: how the source merges patches: ``merging`` of MONAI from 1.5 on, ``mergingv2``, or "duplicated", the
            ``merging`` of the RecA code and of MONAI 0.9 to 1.4 in 3D. The weights' sub-lattices are put in our order.
        fold_duplicates: turn "duplicated" weights into ones for a network that merges each sub-lattice once.
    """
    rules = swin_encoder_rules(r"swinViT\.", dimensions, merging, fold_duplicates=fold_duplicates)
    blocks = [("encoder1.layer", "decoder.stem"), ("encoder10.layer", "decoder.bottleneck")]
    blocks += [(f"encoder{i + 2}.layer", f"decoder.skips.{i}") for i in range(3)]
    blocks += [(f"decoder{i + 1}.conv_block", f"decoder.ups.{i}.refine") for i in range(5)]
    for source, target in blocks:
        escaped = source.replace(".", r"\.")
        rules += [Rule(rf"{escaped}\.{a}\.conv\.weight", f"{target}.{b}.conv.weight") for a, b in _CONV_NAMES]
    rules += [Rule(rf"decoder{i + 1}\.transp_conv\.conv\.weight", f"decoder.ups.{i}.upsample.weight") for i in range(5)]
    return [*rules, Rule(r"out\.conv\.conv\.(weight|bias)", "decoder.seg_layers.0.{0}")]


def swin_encoder_rules(prefix: str, dimensions: int, merging: Merging, *, fold_duplicates: bool = False) -> list[Rule]:
    """Rename table of the encoder alone, whose names begin with the regular expression ``prefix``."""
    reorder: Callable[[Tensor], Tensor] | None = None
    if (order := _SUBLATTICE_ORDER.get((dimensions, merging))) is not None:
        reorder = functools.partial(reorder_sublattices, order=order)
    elif fold_duplicates and merging == "duplicated" and dimensions == 3:
        reorder = _fold_duplicates
    rules = [
        Rule(r".*\.relative_position_index", None),
        Rule(rf"{prefix}patch_embed\.proj\.(weight|bias)", "encoder.patch_embed.proj.{0}"),
    ]
    for i in range(4):
        source, target = rf"{prefix}layers{i + 1}\.0", f"encoder.stages.{i}"
        mlp = rf"{source}\.blocks\.(\d+)\.mlp\.(?:linear|fc)([12])\.(weight|bias)"
        rules += [
            Rule(mlp, target + ".blocks.{0}.mlp.fc{1}.{2}"),
            Rule(rf"{source}\.blocks\.(\d+)\.((?:norm[12]|attn)\..+)", target + ".blocks.{0}.{1}"),
            Rule(rf"{source}\.downsample\.(.+)", f"encoder.downsamples.{i}." + "{0}", reorder),
        ]
    return rules


def swin_unetr_arguments(
    constructor: Mapping[str, Any], *, recurrent: bool, duplicated: bool
) -> tuple[dict[str, Any], Merging]:
    """Published constructor arguments -> arguments of our SwinUNETR, with every published quirk switched on.

    Args:
        constructor: ``in_channels, out_channels, depths, num_heads, feature_size, spatial_dims, downsample``;
            ``img_size`` is ignored, the network takes any multiple of 32.
        recurrent: RecA, or MONAI's self-attention.
        duplicated: ``downsample="merging"`` takes sub-lattices twice (the RecA code, MONAI before 1.5).

    Returns:
        Arguments of ``SwinUNETR`` and the ``merging`` for :func:`swin_unetr_rules`.

    Raises:
        ValueError: for arguments that this translation does not know.
    """
    c = {"downsample": "merging", "spatial_dims": 3, "depths": (2, 2, 2, 2), "num_heads": (3, 6, 12, 24), **constructor}
    c.pop("img_size", None)
    dimensions, downsample = c.pop("spatial_dims"), c.pop("downsample")
    if downsample == "legacy" or (downsample == "merging" and duplicated and dimensions == 3):
        downsample = "duplicated"
    arguments = {
        "input_channels": c.pop("in_channels"),
        "num_classes": c.pop("out_channels"),
        "strides": [[1] * dimensions] + [[2] * dimensions] * 5,
        "feature_size": c.pop("feature_size", 24),
        "depths": c.pop("depths"),
        "num_heads": c.pop("num_heads"),
        "recurrent": recurrent,
        "auxiliary_heads": False,
        "index_scheme": "cropped",
        "duplicated_sublattices": downsample == "duplicated",
    }
    if c or downsample not in get_args(Merging):
        unexpected = sorted(c) or [f"downsample={downsample!r}"]
        raise ValueError(f"expected published SwinUNETR arguments, got {', '.join(unexpected)}")
    return arguments, downsample


def _fold_duplicates(x: Tensor) -> Tensor:
    """Weights for sub-lattices taken twice or never -> each once.

    Projections of a repeated sub-lattice add up, those of a missing one are zero. The norm ran over the repeated
    channels too, so that its scale is averaged and outputs are close, not equal.
    """
    chunks = x.chunk(8, dim=-1)
    ranks = [4 * i + 2 * j + k for i, j, k in PatchMerging.DUPLICATED]
    taken = [[chunk for chunk, rank in zip(chunks, ranks, strict=True) if rank == wanted] for wanted in range(8)]
    reduce = torch.sum if x.ndim > 1 else torch.mean
    return torch.cat([reduce(torch.stack(t), 0) if t else torch.zeros_like(chunks[0]) for t in taken], dim=-1)

"""SwinUNETR of the RecA authors and of MONAI: layouts, rename table and constructor arguments.

Both share one layout (``swinViT.*``, ``encoder1`` ... ``encoder10``, ``decoder5`` ... ``decoder1``, ``out``); of
self-supervised training there are encoders alone.
"""

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from nnunet_reca.architectures import SwinUNETR
from nnunet_reca.blocks import PatchMerging
from nnunet_reca.weights.constructor import Constructor
from nnunet_reca.weights.layout import Layout
from nnunet_reca.weights.rename import Rule, reorder_sublattices

Merging = Literal["merging", "mergingv2", "duplicated"]

_CONV_NAMES = (("conv1", "conv1"), ("conv2", "conv2"), ("conv3", "skip"))

#: Published arguments that change nothing in eval mode, or nothing at all.
_INERT = ("img_size", "drop_rate", "attn_drop_rate", "use_checkpoint", "use_flash_attention")
#: Published arguments for which only the default is supported.
_FIXED = {
    "patch_size": 2,
    "qkv_bias": True,
    "norm_name": "instance",
    "normalize": True,
    "patch_norm": False,
    "use_v2": False,
    "use_hyena": False,
}

#: Order of the merged sub-lattices in the published code, as row-major ranks of their offsets (which is our order).
_SUBLATTICE_ORDER: dict[tuple[int, Merging], tuple[int, ...]] = {
    (2, "merging"): (0, 2, 1, 3),
    (2, "mergingv2"): (0, 2, 1, 3),
    (2, "duplicated"): (0, 2, 1, 3),
    (3, "merging"): (0, 4, 2, 1, 6, 5, 3, 7),
}

#: heads of the pretext tasks, and what else self-supervised checkpoints hold beside the encoder
_PRETEXT = r"(?:rotation_head|contrastive_head|conv|convTrans3d|norm|mask_token|decoder|projector)(?:\..*)?"
_UNSUPPORTED = {
    r"(?:swinViT\.)?layers[1-4]c\..+": "MONAI's SwinUNETR with use_v2=True (a residual convolution before each stage)",
    r"(?:encoder|decoder)\d+\..*norm\d\..+": "a SwinUNETR whose norms have parameters (norm_name)",
}


def layouts(merging: Merging = "merging") -> list[Layout]:
    """The whole network, and encoders alone.

    Args:
        merging: patch merging of the source, which names do not tell, see :func:`swin_unetr_rules`.
    """

    def whole(source: Mapping[str, Tensor], network: nn.Module) -> list[Rule]:
        return swin_unetr_rules(_dimensions(network), merging)

    def encoder(source: Mapping[str, Tensor], network: nn.Module) -> list[Rule]:
        return [*swin_encoder_rules("", _dimensions(network), merging), Rule(_PRETEXT, None)]

    def complete(renamed: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
        return fold_duplicates(renamed) if merging == "duplicated" and _dimensions(network) == 3 else renamed

    more: dict[str, Any] = {"complete": complete, "note": _merging_note(merging), "unsupported": _UNSUPPORTED}
    return [
        Layout("SwinUNETR (MONAI or RecA)", SwinUNETR, (r"swinViT\.layers1\..+", r"decoder1\..+"), whole, **more),
        Layout(
            "SwinUNETR encoder (self-supervised)",
            SwinUNETR,
            (r"layers1\.0\.blocks\.0\.norm1\.weight",),
            encoder,
            absent=r"decoder\..*",
            **more,
        ),
    ]


def _merging_note(merging: Merging) -> str:
    note = f"patch merging of the source is taken to be {merging!r}"
    if merging == "merging":
        note += ", MONAI's from 1.5 on; 3D weights of the RecA code or MONAI 0.9 to 1.4 need --merging duplicated"
    elif merging == "duplicated":
        note += "; this network merges each sub-lattice once, so that outputs in 3D are close, not equal"
    return note


def _dimensions(network: nn.Module) -> int:
    return len(network.total_stride)  # type: ignore[arg-type]


def swin_unetr_rules(dimensions: int, merging: Merging) -> list[Rule]:
    """Rename table, published layout -> :class:`nnunet_reca.architectures.SwinUNETR`.

    Args:
        dimensions: 2 or 3.
        merging: how the source merges patches: ``merging`` of MONAI from 1.5 on, ``mergingv2``, or "duplicated", the
            ``merging`` of the RecA code and of MONAI 0.9 to 1.4 in 3D. The weights' sub-lattices are put in our order.
    """
    rules = swin_encoder_rules(r"swinViT\.", dimensions, merging)
    blocks = [("encoder1.layer", "decoder.stem"), ("encoder10.layer", "decoder.bottleneck")]
    blocks += [(f"encoder{i + 2}.layer", f"decoder.skips.{i}") for i in range(3)]
    blocks += [(f"decoder{i + 1}.conv_block", f"decoder.ups.{i}.refine") for i in range(5)]
    for source, target in blocks:
        escaped = source.replace(".", r"\.")
        rules += [Rule(rf"{escaped}\.{a}\.conv\.weight", f"{target}.{b}.weight") for a, b in _CONV_NAMES]
    rules += [Rule(rf"decoder{i + 1}\.transp_conv\.conv\.weight", f"decoder.ups.{i}.upsample.weight") for i in range(5)]
    return [*rules, Rule(r"out\.conv\.conv\.(weight|bias)", "decoder.seg_layers.0.{0}")]


def swin_encoder_rules(prefix: str, dimensions: int, merging: Merging) -> list[Rule]:
    """Rename table of the encoder alone, whose names begin with the regular expression ``prefix``."""
    reorder: Callable[[Tensor], Tensor] | None = None
    if (order := _SUBLATTICE_ORDER.get((dimensions, merging))) is not None:
        reorder = functools.partial(reorder_sublattices, order=order)
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


def published_arguments(
    constructor: Mapping[str, Any], *, recurrent: bool, duplicated: bool
) -> tuple[dict[str, Any], Merging]:
    """Published constructor arguments -> arguments of our SwinUNETR, with every published quirk switched on.

    Args:
        constructor: ``in_channels, out_channels, depths, num_heads, window_size, mlp_ratio, feature_size,
            dropout_path_rate, spatial_dims, downsample``; defaults are filled in, what has no effect in eval mode is
            ignored.
        recurrent: RecA, or MONAI's self-attention.
        duplicated: ``downsample="merging"`` takes sub-lattices twice (the RecA code, MONAI before 1.5).

    Returns:
        Arguments of ``SwinUNETR`` and the ``merging`` for :func:`swin_unetr_rules`.

    Raises:
        ValueError: for arguments that this translation does not know.
    """
    c = Constructor("SwinUNETR", constructor, ignored=_INERT, fixed=_FIXED)
    dimensions, downsample = c.take("spatial_dims", 3), c.take("downsample", "merging")
    if downsample == "legacy" or (downsample == "merging" and duplicated and dimensions == 3):
        downsample = "duplicated"
    if downsample not in get_args(Merging):
        raise ValueError(f"expected the published SwinUNETR with one of {get_args(Merging)}, got {downsample=}")
    window = c.take("window_size", 7)
    arguments = {
        "input_channels": c.take("in_channels"),
        "num_classes": c.take("out_channels"),
        "strides": [[1] * dimensions] + [[2] * dimensions] * 5,
        "feature_size": c.take("feature_size", 24),
        "depths": c.take("depths", [2, 2, 2, 2]),
        "num_heads": c.take("num_heads", [3, 6, 12, 24]),
        "window_sizes": [window] * 4,
        "mlp_ratio": c.take("mlp_ratio", 4.0),
        "drop_path_rate": c.take("dropout_path_rate", 0.0),
        "carry": "sum" if recurrent else "none",
        "auxiliary_heads": False,
        "index_scheme": "cropped",
        "duplicated_sublattices": downsample == "duplicated",
    }
    c.close()
    return arguments, downsample


def fold_duplicates(renamed: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the old merging, for sub-lattices taken twice or never -> for each taken once.

    With projection W, norm scale g and shift b, columns of a repeated sub-lattice add up, those of a missing one are
    zero, g is absorbed into W, and the new shift gives the same constant. What remains different is that the published
    norm averaged over the repeated channels: outputs are close, not equal.
    """
    folded = dict(renamed)
    for name, weight in renamed.items():
        if re.fullmatch(r"encoder\.downsamples\.\d\.reduction\.weight", name):
            norm = name.replace("reduction.weight", "norm.")
            scale, shift = renamed[norm + "weight"], renamed[norm + "bias"]
            chunks = (weight * scale).chunk(8, dim=1)
            ranks = [4 * i + 2 * j + k for i, j, k in PatchMerging.DUPLICATED]
            columns = [torch.zeros_like(chunks[0]) for _ in chunks]
            for chunk, rank in zip(chunks, ranks, strict=True):
                columns[rank] = columns[rank] + chunk
            folded[name] = torch.cat(columns, dim=1)
            folded[norm + "weight"] = torch.ones_like(scale)
            folded[norm + "bias"] = torch.linalg.pinv(folded[name]) @ (weight @ shift)
    return folded

"""Swin-Unet of its authors and of the RecA authors: rename table and constructor arguments.

Both share one layout (``layers``, ``layers_up``, ``concat_back_dim``, ``output``); RecA adds an unused ``decoder0``.
"""

import functools
import re
from collections.abc import Mapping
from typing import Any

import torch

from nnunet_reca.weights.rename import Rule, reorder_sublattices

#: The published decoder indexes its skips as in a network of four stages.
_STAGES = 4

#: Order of the merged sub-lattices in the published code, as row-major ranks of their offsets (which is our order).
_SUBLATTICE_ORDER = (0, 2, 1, 3)

#: Defaults of the published constructor that have no counterpart here.
_FIXED = {
    "patch_size": 4,
    "qkv_bias": True,
    "qk_scale": None,
    "drop_rate": 0.0,
    "attn_drop_rate": 0.0,
    "ape": False,
    "patch_norm": True,
    "final_upsample": "expand_first",
}


def swin_unet_rules(prefix: str = "") -> list[Rule]:
    """Rename table, published layout -> :class:`nnunet_reca.architectures.SwinUnet`.

    Args:
        prefix: of the published names; "swin_unet." in checkpoints of the published training script.
    """
    wb, p = "(weight|bias)", re.escape(prefix)
    reorder = functools.partial(reorder_sublattices, order=_SUBLATTICE_ORDER)
    rules = [
        Rule(r".*\.(?:relative_position_index|attn_mask)", None),
        # as published: the RecA network builds decoder0 and never calls it
        Rule(rf"{p}decoder0\..+", None),
        Rule(rf"{p}patch_embed\.proj\.{wb}", "encoder.patch_embed.proj.{0}"),
        Rule(rf"{p}patch_embed\.norm\.{wb}", "encoder.embed_norm.{0}"),
        Rule(rf"{p}layers\.(\d+)\.blocks\.(.+)", "encoder.stages.{0}.blocks.{1}"),
        Rule(rf"{p}layers\.(\d+)\.downsample\.(.+)", "encoder.downsamples.{0}.{1}", reorder),
        Rule(rf"{p}norm\.{wb}", "encoder.norm.{0}"),
        Rule(rf"{p}layers_up\.0\.((?:expand|norm)\..+)", f"decoder.expands.{_STAGES - 2}." + "{0}"),
    ]
    for up in range(1, _STAGES):
        stage = _STAGES - 1 - up
        rules += [
            Rule(rf"{p}concat_back_dim\.{up}\.{wb}", f"decoder.fusions.{stage}." + "{0}"),
            Rule(rf"{p}layers_up\.{up}\.blocks\.(.+)", f"decoder.stages.{stage}.blocks." + "{0}"),
            Rule(rf"{p}layers_up\.{up}\.upsample\.(.+)", f"decoder.expands.{stage - 1}." + "{0}"),
        ]
    return [
        *rules,
        Rule(rf"{p}norm_up\.{wb}", "decoder.norm.{0}"),
        Rule(rf"{p}up\.(.+)", "decoder.final_expand.{0}"),
        Rule(rf"{p}output\.weight", "decoder.seg_layers.0.weight", functools.partial(torch.flatten, start_dim=1)),
    ]


def swin_unet_arguments(constructor: Mapping[str, Any], *, recurrent: bool) -> dict[str, Any]:
    """Published constructor arguments -> arguments of our SwinUnet.

    As published, a map no larger than the window takes a window, and a bias table, of its own size: windows are
    resolved for ``img_size``. ``depths_decoder`` and ``choice`` have no effect, ``use_checkpoint`` none on the result.

    Args:
        constructor: arguments of ``SwinTransformerSys`` or ``RecASwinTransformerSys_Encoder``; defaults are
            filled in.
        recurrent: RecA, or self-attention.

    Raises:
        ValueError: for arguments, or values, that this translation does not know.
    """
    c = {"img_size": 224, "window_size": 7, "depths": [2] * _STAGES, **_FIXED, **constructor}
    for name in ("depths_decoder", "choice", "use_checkpoint"):
        c.pop(name, None)
    for name, value in _FIXED.items():
        if (got := c.pop(name)) != value:
            raise ValueError(f"expected the published Swin-Unet with {name}={value!r}, got {got!r}")
    side, window, depths = c.pop("img_size"), c.pop("window_size"), c.pop("depths")
    if not isinstance(side, int) or not isinstance(window, int):
        raise ValueError(f"expected img_size and window_size as one number each, got {side!r} and {window!r}")
    if len(depths) != _STAGES:
        raise ValueError(f"expected depths of {_STAGES} stages, got {len(depths)}: {depths}")
    arguments = {
        "input_channels": c.pop("in_chans", 3),
        "num_classes": c.pop("num_classes", 1000),
        "strides": [[1, 1], [4, 4], *[[2, 2]] * (_STAGES - 1)],
        "embed_dim": c.pop("embed_dim", 96),
        "depths": depths,
        "num_heads": c.pop("num_heads", [3, 6, 12, 24]),
        "window_sizes": [min(window, side // (4 * 2**i)) for i in range(_STAGES)],
        "mlp_ratio": c.pop("mlp_ratio", 4.0),
        "drop_path_rate": c.pop("drop_path_rate", 0.1),
        "recurrent": recurrent,
        "auxiliary_heads": False,
    }
    if c:
        raise ValueError(f"expected published Swin-Unet arguments, got {', '.join(sorted(c))}")
    return arguments

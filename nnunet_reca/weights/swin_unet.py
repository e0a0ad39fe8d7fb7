"""Swin-Unet of its authors and of the RecA authors: layout, rename table and constructor arguments.

Both share one layout (``layers``, ``layers_up``, ``concat_back_dim``, ``output``); RecA adds an unused ``decoder0``.
"""

import functools
from collections.abc import Mapping
from typing import Any

import torch

from nnunet_reca.architectures import SwinUnet
from nnunet_reca.weights.constructor import Constructor
from nnunet_reca.weights.layout import Layout
from nnunet_reca.weights.rename import Rule, reorder_sublattices

#: The published decoder indexes its skips as in a network of four stages.
_STAGES = 4

#: Order of the merged sub-lattices in 2D Swin Transformers, as row-major ranks of their offsets (which is our order).
SUBLATTICE_ORDER = (0, 2, 1, 3)

#: Published arguments that change nothing in eval mode, or nothing at all.
_INERT = ("depths_decoder", "choice", "use_checkpoint", "drop_rate", "attn_drop_rate", "norm_layer")
#: Published arguments for which only the default is supported.
_FIXED = {
    "patch_size": 4,
    "qkv_bias": True,
    "qk_scale": None,
    "ape": False,
    "patch_norm": True,
    "final_upsample": "expand_first",
}


def swin_unet_rules() -> list[Rule]:
    """Rename table, published layout -> :class:`nnunet_reca.architectures.SwinUnet`."""
    wb = "(weight|bias)"
    reorder = functools.partial(reorder_sublattices, order=SUBLATTICE_ORDER)
    rules = [
        Rule(r".*\.(?:relative_position_index|attn_mask)", None),
        # as published: the RecA network builds decoder0 and never calls it
        Rule(r"decoder0\..+", None),
        Rule(rf"patch_embed\.proj\.{wb}", "encoder.patch_embed.proj.{0}"),
        Rule(rf"patch_embed\.norm\.{wb}", "encoder.embed_norm.{0}"),
        Rule(r"layers\.(\d+)\.blocks\.(.+)", "encoder.stages.{0}.blocks.{1}"),
        Rule(r"layers\.(\d+)\.downsample\.(.+)", "encoder.downsamples.{0}.{1}", reorder),
        Rule(rf"norm\.{wb}", "encoder.norm.{0}"),
        Rule(r"layers_up\.0\.((?:expand|norm)\..+)", f"decoder.expands.{_STAGES - 2}." + "{0}"),
    ]
    for up in range(1, _STAGES):
        stage = _STAGES - 1 - up
        rules += [
            Rule(rf"concat_back_dim\.{up}\.{wb}", f"decoder.fusions.{stage}." + "{0}"),
            Rule(rf"layers_up\.{up}\.blocks\.(.+)", f"decoder.stages.{stage}.blocks." + "{0}"),
            Rule(rf"layers_up\.{up}\.upsample\.(.+)", f"decoder.expands.{stage - 1}." + "{0}"),
        ]
    return [
        *rules,
        Rule(rf"norm_up\.{wb}", "decoder.norm.{0}"),
        Rule(r"up\.(.+)", "decoder.final_expand.{0}"),
        Rule(r"output\.weight", "decoder.seg_layers.0.weight", functools.partial(torch.flatten, start_dim=1)),
    ]


def published_arguments(constructor: Mapping[str, Any], *, recurrent: bool) -> dict[str, Any]:
    """Published constructor arguments -> arguments of our SwinUnet.

    As published, a map no larger than the window takes a window, and a bias table, of its own size: windows are
    resolved for ``img_size``. What has no effect, or none in eval mode, is ignored.

    Args:
        constructor: arguments of ``SwinTransformerSys`` or ``RecASwinTransformerSys_Encoder``; defaults are
            filled in.
        recurrent: RecA, or self-attention.

    Raises:
        ValueError: for arguments, or values, that this translation does not know.
    """
    c = Constructor("Swin-Unet", constructor, ignored=_INERT, fixed=_FIXED)
    side, window = c.take_number("img_size", 224), c.take_number("window_size", 7)
    depths = c.take("depths", [2] * _STAGES)
    if len(depths) != _STAGES:
        raise ValueError(f"expected depths of {_STAGES} stages, got {len(depths)}: {depths}")
    arguments = {
        "input_channels": c.take("in_chans", 3),
        "num_classes": c.take("num_classes", 1000),
        "strides": [[1, 1], [4, 4], *[[2, 2]] * (_STAGES - 1)],
        "embed_dim": c.take("embed_dim", 96),
        "depths": depths,
        "num_heads": c.take("num_heads", [3, 6, 12, 24]),
        "window_sizes": [min(window, side // (4 * 2**i)) for i in range(_STAGES)],
        "mlp_ratio": c.take("mlp_ratio", 4.0),
        "drop_path_rate": c.take("drop_path_rate", 0.1),
        "carry": "sum" if recurrent else "none",
        "auxiliary_heads": False,
    }
    c.close()
    return arguments


LAYOUTS = (
    Layout(
        "Swin-Unet",
        SwinUnet,
        (r"layers_up\..+", r"concat_back_dim\..+"),
        lambda source, network: swin_unet_rules(),
    ),
)

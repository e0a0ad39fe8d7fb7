"""DA-TransUNet of the RecA authors and of Sun et al.: layout, rename table and constructor arguments.

``DA_Transformer_RecA`` and ``DA_Transformer`` share one layout (``transformer.embeddings``, ``transformer.encoder``,
``decoder``, ``segmentation_head``).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from nnunet_reca.architectures import DATransUnet
from nnunet_reca.weights.constructor import Constructor
from nnunet_reca.weights.layout import Layout
from nnunet_reca.weights.rename import Rule
from nnunet_reca.weights.vit import vit_encoder_rules

#: Dual-attention heads of every decoder block, by the channels of the upsampled map that each is for.
_HEADS = {512: "da3", 256: "da2", 64: "da"}
_BOTTLENECK_CHANNELS = 512
_BLOCKS = 4

#: ``get_r50_b16_config()`` of the published code.
_DEFAULTS: dict[str, Any] = {
    "hidden_size": 768,
    "num_layers": 12,
    "num_heads": 12,
    "mlp_dim": 3072,
    "dropout_rate": 0.1,
    "resnet_num_layers": (3, 4, 9),
    "resnet_width_factor": 1,
    "decoder_channels": (256, 128, 64, 16),
    "skip_channels": (512, 256, 64, 16),
    "n_classes": 2,
    "n_skip": 3,
}
#: Published arguments that change nothing in eval mode, or nothing at all.
_INERT = ("vis", "zero_head", "attention_dropout_rate")
#: Published arguments for which only one value is supported.
_FIXED = {"base_config": "get_r50_b16_config()"}


def da_transunet_rules(resnet_layers: Sequence[int], skip_attention: Sequence[bool]) -> list[Rule]:
    """Rename table, published layout -> :class:`nnunet_reca.architectures.DATransUnet`.

    Parameters that the published network never uses are dropped: ``conv6`` and ``conv7`` of every dual-attention head,
    and the heads of each decoder block but the one in use.

    Args:
        resnet_layers: bottlenecks of each stage of the ResNet.
        skip_attention: for each skip, finest first, whether it passes a dual-attention head.
    """
    embeddings = r"transformer\.embeddings\."
    rules = [
        Rule(r".*\.num_batches_tracked", None),
        Rule(rf"(?:{embeddings}DAblock1|decoder\.blocks\.\d\.da[23]?)\.conv[67]\..+", None),
        Rule(rf"{embeddings}position_embeddings", "encoder.position_embedding"),
        Rule(rf"{embeddings}patch_embeddings\.(weight|bias)", "encoder.patch_embed.{0}"),
        *_resnet_rules(rf"{embeddings}hybrid_model\.", "encoder.resnet.", resnet_layers),
        *_head_rules(rf"{embeddings}DAblock1\.", "encoder.attention."),
        *vit_encoder_rules("transformer.encoder.", "encoder.transformer."),
        Rule(r"decoder\.conv_more\.([01]\..+)", "decoder.bottleneck.{0}"),
    ]
    for i in range(_BLOCKS):  # published: coarsest first; ours: finest first
        source, target = rf"decoder\.blocks\.{i}\.", f"decoder.blocks.{_BLOCKS - 1 - i}."
        rules += [Rule(rf"{source}conv{c + 1}\.([01]\..+)", f"{target}refine.{c}." + "{0}") for c in range(2)]
    for i, (name, attends) in enumerate(zip(_HEADS.values(), reversed(skip_attention), strict=False)):
        if attends:
            rules += _head_rules(
                rf"decoder\.blocks\.{i}\.{name}\.", f"decoder.blocks.{_BLOCKS - 1 - i}.skip_attention."
            )
    return [
        *rules,
        Rule(r"decoder\.blocks\.\d\.da[23]?\..+", None),
        Rule(r"segmentation_head\.0\.(weight|bias)", "decoder.seg_layers.0.{0}"),
    ]


def published_arguments(constructor: Mapping[str, Any], *, recurrent: bool) -> dict[str, Any]:
    """Published configuration -> arguments of our DATransUnet, with every published quirk switched on.

    Args:
        constructor: ``img_size``, ``grid`` and entries that differ from ``get_r50_b16_config()``: ``hidden_size,
            num_layers, num_heads, mlp_dim, dropout_rate, attention_dropout_rate, resnet_num_layers,
            resnet_width_factor, decoder_channels, skip_channels, n_classes, n_skip``.
        recurrent: ``DA_Transformer_RecA``, or ``DA_Transformer``.

    Returns:
        Arguments of ``DATransUnet``, among them ``resnet_layers`` and ``skip_attention`` for
        :func:`da_transunet_rules`. ``input_channels`` is 3; images of one channel are repeated.

    Raises:
        ValueError: for arguments that this translation does not know, or with which the published network cannot run.
    """
    given = Constructor("DA-TransUNet", constructor, ignored=_INERT, fixed=_FIXED)
    c = {name: given.take(name, default) for name, default in _DEFAULTS.items()}
    side, grid = given.take("img_size", 224), given.take("grid", [14, 14])
    given.close()
    sides = [side] * 2 if isinstance(side, int) else side
    if [16 * g for g in grid] != sides:
        raise ValueError(f"expected a grid of img_size / 16 tokens, got {grid} for {sides}")
    width = int(64 * c["resnet_width_factor"])
    return {
        "input_channels": 3,
        "num_classes": c["n_classes"],
        "strides": [[1, 1]] + [[2, 2]] * 4,
        "grid_size": grid,
        "hidden_size": c["hidden_size"],
        "num_layers": c["num_layers"],
        "num_heads": c["num_heads"],
        "mlp_dim": c["mlp_dim"],
        "dropout": c["dropout_rate"],
        "resnet_layers": list(c["resnet_num_layers"]),
        "resnet_width": width,
        "bottleneck_channels": _BOTTLENECK_CHANNELS,
        "decoder_channels": list(reversed(c["decoder_channels"])),
        "n_skip": c["n_skip"],
        "skip_attention": _skip_attention(c["decoder_channels"], c["skip_channels"], c["n_skip"], width)[::-1],
        "carry": "sum" if recurrent else "none",
        "auxiliary_heads": False,
        "valid_pooling": True,
        "repeat_single_channel": True,
        "attention_norm_momentum": 0.95,
    }


def _skip_attention(
    decoder_channels: Sequence[int], skip_channels: Sequence[int], n_skip: int, width: int
) -> list[bool]:
    """Which skips pass a dual-attention head: those whose upsampled partner has as many channels as one is for."""
    actual = [8 * width, 4 * width, width][:n_skip]
    if list(skip_channels[:n_skip]) != actual:
        raise ValueError(f"expected skip_channels that begin with the ResNet's {actual}, got {list(skip_channels)}")
    upsampled = [_BOTTLENECK_CHANNELS, *decoder_channels][:n_skip]
    for channels, skip in zip(upsampled, actual, strict=True):
        # the head for 64 channels has 64 // 16 // 8 = 0 query channels
        if channels in _HEADS and (channels != skip or channels == 64):
            raise ValueError(
                f"expected decoder_channels with which the published network runs, got {list(decoder_channels)}: its "
                f"dual-attention head for {channels} channels does not take a skip of {skip}"
                + (" (it has no query channels)" if channels == 64 else "")
            )
    return [channels in _HEADS for channels in upsampled]


def _head_rules(source: str, target: str) -> list[Rule]:
    """Dual-attention head; ``source`` is a regular expression."""
    rules = []
    for branch, first, attention, last in (("position", "5a", "sa", "51"), ("channel", "5c", "sc", "52")):
        rules += [
            Rule(rf"{source}conv{first}\.([01]\..+)", f"{target}{branch}.0." + "{0}"),
            Rule(rf"{source}{attention}\.gamma", f"{target}{branch}.1.gate"),
            Rule(rf"{source}conv{last}\.([01]\..+)", f"{target}{branch}.2." + "{0}"),
        ]
    rules += [
        Rule(rf"{source}sa\.{name}_conv\.(weight|bias)", f"{target}position.1.qkv." + "{0}", part=(i, 3))
        for i, name in enumerate(("query", "key", "value"))
    ]
    return [*rules, Rule(rf"{source}conv8\.(1\..+)", f"{target}out." + "{0}")]


def _resnet_rules(source: str, target: str, layers: Sequence[int]) -> list[Rule]:
    """Hybrid ResNet; ``source`` is a regular expression."""
    rules = [
        Rule(rf"{source}root\.conv\.weight", f"{target}root.0.weight"),
        Rule(rf"{source}root\.gn\.(weight|bias)", f"{target}root.1." + "{0}"),
    ]
    # our indices count from 0, the published ones from 1
    for stage, unit in ((s, u) for s, depth in enumerate(layers) for u in range(depth)):
        block, ours = rf"{source}body\.block{stage + 1}\.unit{unit + 1}\.", f"{target}stages.{stage}.{unit}."
        for i in range(3):
            rules += [
                Rule(rf"{block}conv{i + 1}\.weight", f"{ours}residual.{3 * i}.weight"),
                Rule(rf"{block}gn{i + 1}\.(weight|bias)", f"{ours}residual.{3 * i + 1}." + "{0}"),
            ]
        rules += [
            Rule(rf"{block}downsample\.weight", f"{ours}shortcut.0.weight"),
            Rule(rf"{block}gn_proj\.(weight|bias)", f"{ours}shortcut.1." + "{0}"),
        ]
    return rules


def _resnet_layers(source: Mapping[str, Tensor]) -> list[int]:
    """Units of each stage of the published ResNet."""
    units = [re.search(r"body\.block(\d)\.unit(\d+)\.conv1\.", name) for name in source]
    stages = [int(m[1]) for m in units if m]
    return [stages.count(stage) for stage in sorted(set(stages))]


LAYOUTS = (
    Layout(
        "DA-TransUNet",
        DATransUnet,
        (r"transformer\.embeddings\.hybrid_model\..+",),
        lambda source, network: da_transunet_rules(_resnet_layers(source), [False, True, True]),
        note="the published network pools without its border rows; this one with them, so that outputs differ a little",
    ),
)

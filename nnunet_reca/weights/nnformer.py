"""nnFormer and nnFormer-RecA of the RecA authors: layout, rename table and constructor arguments.

Both share the layout of the original nnFormer (``model_down.*``, ``decoder.*``, ``final.*``).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nnunet_reca.architectures import NnFormer
from nnunet_reca.ops import relative_position_index
from nnunet_reca.weights.constructor import Constructor
from nnunet_reca.weights.layout import Layout
from nnunet_reca.weights.rename import Rule

_DEFAULTS = {
    "crop_size": [96, 96, 96],
    "embedding_dim": 192,
    "input_channels": 1,
    "num_classes": 14,
    "depths": [2, 2, 2, 2],
    "num_heads": [6, 12, 24, 48],
    "patch_size": [2, 4, 4],
    "window_size": [4, 4, 8, 4],
    "deep_supervision": False,
}

#: (published, ours) of the patch embedding's convolutions and norms
_PATCH_EMBED = (
    ("proj1.conv1", "convs.0"),
    ("proj1.norm1", "norms.0"),
    ("proj1.conv2", "convs.1"),
    ("proj1.norm2", "norms.1"),
    ("proj2.conv1", "convs.2"),
    ("proj2.norm1", "norms.2"),
    ("proj2.conv2", "convs.3"),
    ("norm", "norms.3"),
)


def nnformer_rules(*, exact_tables: bool = False) -> list[Rule]:
    """Rename table, published layout -> :class:`nnunet_reca.architectures.NnFormer`, for any number of stages.

    Args:
        exact_tables: spell the bias tables out for ``index_scheme="exact"``; outputs stay equal, for the published
            index, too, is a function of the offset.
    """
    rules = [Rule(r".*\.relative_position_index", None)]
    if exact_tables:
        table = r"(\d+)\.(blocks\..+\.relative_position_bias_table)"
        rules += [
            Rule(rf"model_down\.layers\.{table}", "encoder.stages.{0}.{1}", _exact_table),
            Rule(rf"decoder\.layers\.{table}", "decoder.stages.{0}.{1}", _exact_table),
        ]
    for source, target in _PATCH_EMBED:
        escaped = source.replace(".", r"\.")
        rules.append(Rule(rf"model_down\.patch_embed\.{escaped}\.(weight|bias)", f"encoder.patch_embed.{target}.{{0}}"))
    return [
        *rules,
        Rule(r"model_down\.layers\.(\d+)\.(blocks\..+)", "encoder.stages.{0}.{1}"),
        Rule(r"model_down\.layers\.(\d+)\.downsample\.(.+)", "encoder.downsamples.{0}.{1}"),
        Rule(r"model_down\.norm(\d+)\.(weight|bias)", "encoder.norms.{0}.{1}"),
        Rule(r"decoder\.layers\.(\d+)\.(blocks\..+)", "decoder.stages.{0}.{1}"),
        Rule(r"decoder\.layers\.(\d+)\.Upsample\.(.+)", "decoder.stages.{0}.upsample.{1}"),
        Rule(r"final\.(\d+)\.up\.(weight|bias)", "decoder.seg_layers.{0}.{1}"),
    ]


def published_arguments(constructor: Mapping[str, Any], *, recurrent: bool) -> dict[str, Any]:
    """Published constructor arguments -> arguments of our NnFormer, with every published quirk switched on.

    Args:
        constructor: ``crop_size, embedding_dim, input_channels, num_classes, depths, num_heads, patch_size,
            window_size, deep_supervision``; ``conv_op`` is ignored, as in the published network.
        recurrent: ``nnFormerRecA``, or its self-attention twin ``nnFormer``.

    Raises:
        ValueError: for arguments that this translation does not know, or a token patch the published strides miss.
    """
    given = Constructor("nnFormer", constructor, ignored=("conv_op",))
    c = {name: given.take(name, default) for name, default in _DEFAULTS.items()}
    given.close()
    windows, shifts = _published_windows(c["crop_size"], c["patch_size"], c["window_size"])
    return {
        "input_channels": c["input_channels"],
        "num_classes": c["num_classes"],
        "strides": [[1, 1, 1]] + [[2, 2, 2]] * (len(c["depths"]) - 1),
        "patch_embed_strides": _published_patch_embed_strides(c["patch_size"]),
        "embed_dim": c["embedding_dim"],
        "depths": c["depths"],
        "num_heads": c["num_heads"],
        "window_sizes": windows,
        "shift_sizes": shifts,
        # as published: not an argument there
        "drop_path_rate": 0.2,
        "carry": "sum" if recurrent else "none",
        "deep_supervision": c["deep_supervision"],
        # as published: the coarser heads exist only where deep supervision uses them
        "auxiliary_heads": c["deep_supervision"],
        "index_scheme": "nnformer",
    }


def _published_patch_embed_strides(patch: list[int]) -> list[list[int]]:
    """Strides of the two convolutions; they make up the token patch for (2, 4, 4), and for few others."""
    d, h, w = patch
    strides = [[d, h // 2, w // 2], [d // 2, h // 2, w // 2]]
    if any(a * b != p for a, b, p in zip(*strides, patch, strict=True)):
        raise ValueError(
            f"expected a patch_size that the published strides {strides} make up, got {patch}; use [2, 4, 4]"
        )
    return strides


def _published_windows(crop: list[int], patch: list[int], window_sizes: list[int]) -> tuple[list[int], list[int]]:
    """Window and shift of each stage.

    # as published: where the shortest side of a stage's map does not exceed the window, the window becomes a cube of
    that side, unshifted on every axis.
    """
    windows, shifts = [], []
    for stage, window in enumerate(window_sizes):
        shortest = min(c // p // 2**stage for c, p in zip(crop, patch, strict=True))
        covered = shortest <= window
        windows.append(shortest if covered else window)
        shifts.append(0 if covered else window // 2)
    return windows, shifts


def _exact_table(table: Tensor) -> Tensor:
    """The bias of every offset of a cubic window, in the order of the exact index."""
    side = (round(table.shape[0] ** (1 / 3)) + 1) // 2
    window = [side] * 3
    exact = relative_position_index(window).flatten()
    published = relative_position_index(window, scheme="nnformer").flatten()
    spelled = torch.empty_like(table)
    spelled[exact] = table[published]
    return spelled


LAYOUTS = (
    Layout(
        "nnFormer",
        NnFormer,
        (r"model_down\.patch_embed\..+",),
        lambda source, network: nnformer_rules(exact_tables=True),
    ),
)

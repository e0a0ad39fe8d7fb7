"""Swin Transformers of ImageNet, detectors and segmentors: layout and rename tables."""

import functools
import re
from collections.abc import Collection

from torch import Tensor

from nnunet_reca.architectures import SwinUnet
from nnunet_reca.weights.layout import Layout
from nnunet_reca.weights.rename import Rule, reorder_sublattices
from nnunet_reca.weights.swin_unet import SUBLATTICE_ORDER

_reorder = functools.partial(reorder_sublattices, order=SUBLATTICE_ORDER)

_WB = "(weight|bias)"


def swin_transformer_rules(names: Collection[str]) -> list[Rule]:
    """Rename table, Swin Transformer -> the encoder of :class:`nnunet_reca.architectures.SwinUnet`.

    Four layouts: Microsoft's, where a stage ends with its merging, also of old timm and of detectors; timm's, where a
    stage begins with it; torchvision's numbered ``features``; OpenMMLab's ``stages``. Detectors norm the output of each
    stage, of which the last takes the place of the classifier's norm.
    """
    if any(name.startswith("features.0.") for name in names):
        return _torchvision_rules()
    outputs = sorted(int(m[1]) for name in names if (m := re.fullmatch(r"norm(\d)\.weight", name)))
    rules = [
        Rule(r".*\.(?:relative_position_index|attn_mask)|head\..+", None),
        Rule(rf"patch_embed\.norm\.{_WB}", "encoder.embed_norm.{0}"),
        Rule(rf"norm\.{_WB}", "encoder.norm.{0}"),
        *(Rule(rf"norm{i}\.{_WB}", "encoder.norm.{0}") for i in outputs if i == _stages(names) - 1),
        Rule(rf"norm\d\.{_WB}", None, reason="norm of a stage's output, which this network does not have"),
    ]
    if any(name.startswith("stages.0.") for name in names):
        return [*rules, *_openmmlab_rules()]
    begins = not any(name.startswith("layers.0.downsample.") for name in names)
    merging = [
        Rule(rf"layers\.{i + begins}\.downsample\.(.+)", f"encoder.downsamples.{i}." + "{0}", _reorder)
        for i in range(3)
    ]
    return [
        *rules,
        Rule(rf"patch_embed\.proj\.{_WB}", "encoder.patch_embed.proj.{0}"),
        Rule(r"layers\.(\d)\.(blocks\..+)", "encoder.stages.{0}.{1}"),
        *merging,
    ]


def _stages(names: Collection[str]) -> int:
    return len({m[1] for name in names if (m := re.match(r"(?:layers|stages)\.(\d)\.blocks\.", name))})


def _openmmlab_rules() -> list[Rule]:
    block, ours = r"stages\.(\d)\.blocks\.(\d+)\.", "encoder.stages.{0}.blocks.{1}."
    return [
        Rule(rf"patch_embed\.projection\.{_WB}", "encoder.patch_embed.proj.{0}"),
        Rule(rf"{block}(norm[12]\..+)", ours + "{2}"),
        Rule(rf"{block}attn\.w_msa\.(.+)", ours + "attn.{2}"),
        Rule(rf"{block}ffn\.layers\.0\.0\.{_WB}", ours + "mlp.fc1.{2}"),
        Rule(rf"{block}ffn\.layers\.1\.{_WB}", ours + "mlp.fc2.{2}"),
        Rule(r"stages\.(\d)\.downsample\.(.+)", "encoder.downsamples.{0}.{1}", _sublattices_outside),
    ]


def _sublattices_outside(x: Tensor) -> Tensor:
    """Merged by ``Unfold``, row-major sub-lattices lie innermost, beneath the channels -> channels beneath them."""
    return x.unflatten(-1, (-1, 4)).transpose(-2, -1).flatten(-2)


def _torchvision_rules() -> list[Rule]:
    rules = [
        Rule(r".*\.relative_position_index|head\..+", None),
        Rule(rf"features\.0\.0\.{_WB}", "encoder.patch_embed.proj.{0}"),
        Rule(rf"features\.0\.2\.{_WB}", "encoder.embed_norm.{0}"),
        Rule(rf"norm\.{_WB}", "encoder.norm.{0}"),
    ]
    for stage in range(4):
        source, target = rf"features\.{2 * stage + 1}\.(\d+)\.", f"encoder.stages.{stage}.blocks." + "{0}."
        rules += [
            Rule(rf"{source}mlp\.0\.{_WB}", target + "mlp.fc1.{1}"),
            Rule(rf"{source}mlp\.3\.{_WB}", target + "mlp.fc2.{1}"),
            Rule(rf"{source}((?:norm[12]|attn)\..+)", target + "{1}"),
            Rule(rf"features\.{2 * stage + 2}\.(.+)", f"encoder.downsamples.{stage}." + "{0}", _reorder),
        ]
    return rules


def mirror_decoder(renamed: dict[str, Tensor]) -> dict[str, Tensor]:
    """Start the decoder's blocks as copies of the encoder's blocks of the same stage, as Swin-Unet does."""
    mirrored = {
        re.sub(r"^encoder\.stages\.", "decoder.stages.", name): tensor
        for name, tensor in renamed.items()
        if re.match(r"encoder\.stages\.[0-2]\.", name)
    }
    return {**renamed, **mirrored}


LAYOUTS = (
    Layout(
        "Swin Transformer (ImageNet)",
        SwinUnet,
        (
            "|".join(
                (
                    r"layers\.0\.blocks\.0\.norm1\.weight",
                    r"features\.1\.0\.norm1\.weight",
                    r"stages\.0\.blocks\.0\.attn\.w_msa\.qkv\.weight",
                )
            ),
        ),
        lambda source, network: swin_transformer_rules(source),
        absent=r"decoder\.(?!stages\.).*|encoder\.norm\..*",
        complete=lambda renamed, network: mirror_decoder(renamed),
        unsupported={r".*\.(?:logit_scale|cpb_mlp\..+|continuous_position_bias_mlp\..+)": "Swin Transformer V2"},
    ),
)

"""ViT and hybrid ViT as timm names them, also of DINO and MAE: layouts and rename tables."""

import math

from torch import Tensor

from nnunet_reca.architectures import DATransUnet
from nnunet_reca.weights.layout import Layout
from nnunet_reca.weights.rename import Rule

_WB = "(weight|bias)"
#: what neither layout has
_ABSENT = r"decoder\..*|encoder\.attention\..*"
_UNSUPPORTED = {
    r"blocks\.\d+\.(?:ls[12]|attn\.[qk]_norm)\..+": "a ViT whose blocks scale their branches or norm queries and keys"
}


def timm_vit_rules() -> list[Rule]:
    """Rename table, timm's ``VisionTransformer`` -> the transformer of :class:`nnunet_reca.architectures.DATransUnet`.

    Class token, classifier and what masked training adds are dropped.
    """
    parts = r"(norm[12]|attn\.qkv|attn\.proj|mlp\.fc[12])"
    return [
        Rule(r"cls_token|mask_token|(?:head|head_dist|fc_norm|pre_logits)\..+|decoder_.+", None),
        Rule("pos_embed", "encoder.position_embedding", _without_class_token),
        Rule(rf"blocks\.(\d+)\.{parts}\.{_WB}", "encoder.transformer.blocks.{0}.{1}.{2}"),
        Rule(rf"norm\.{_WB}", "encoder.transformer.norm.{0}"),
        Rule(r"patch_embed\.proj\..+", None, reason="patch embedding, which has no counterpart behind a ResNet"),
    ]


def timm_hybrid_rules() -> list[Rule]:
    """Rename table, timm's R50+ViT -> the encoder of :class:`nnunet_reca.architectures.DATransUnet`."""
    stem, unit = r"patch_embed\.backbone\.stem\.", r"patch_embed\.backbone\.stages\.(\d)\.blocks\.(\d+)\."
    ours = "encoder.resnet.stages.{0}.{1}."
    rules = [
        Rule(rf"{stem}conv\.weight", "encoder.resnet.root.0.weight"),
        Rule(rf"{stem}norm\.{_WB}", "encoder.resnet.root.1.{0}"),
        Rule(rf"{unit}downsample\.conv\.weight", ours + "shortcut.0.weight"),
        Rule(rf"{unit}downsample\.norm\.{_WB}", ours + "shortcut.1.{2}"),
        Rule(rf"patch_embed\.proj\.{_WB}", "encoder.patch_embed.{0}"),
    ]
    for i in range(3):
        rules += [
            Rule(rf"{unit}conv{i + 1}\.weight", f"{ours}residual.{3 * i}.weight"),
            Rule(rf"{unit}norm{i + 1}\.{_WB}", f"{ours}residual.{3 * i + 1}." + "{2}"),
        ]
    return [*rules, *timm_vit_rules()]


def _without_class_token(embedding: Tensor) -> Tensor:
    """The positions of a square grid, which stand behind those of the class token."""
    return embedding[:, -(math.isqrt(embedding.shape[1]) ** 2) :]


LAYOUTS = (
    Layout(
        "R50+ViT (timm)",
        DATransUnet,
        (r"patch_embed\.backbone\.stem\.conv\.weight", "pos_embed"),
        lambda source, network: timm_hybrid_rules(),
        absent=_ABSENT,
        unsupported=_UNSUPPORTED,
    ),
    Layout(
        "ViT (timm)",
        DATransUnet,
        (r"blocks\.0\.attn\.qkv\.weight", "pos_embed"),
        lambda source, network: timm_vit_rules(),
        absent=rf"{_ABSENT}|encoder\.(resnet|patch_embed)\..*",
        unsupported=_UNSUPPORTED,
    ),
)

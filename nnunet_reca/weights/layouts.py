"""All published layouts that :func:`nnunet_reca.weights.convert.convert` recognises."""

import re
from collections.abc import Mapping

from torch import Tensor, nn

from nnunet_reca.weights.da_transunet import da_transunet_rules
from nnunet_reca.weights.imagenet import (
    count_from_zero,
    google_hybrid_rules,
    google_vit_rules,
    mirror_decoder,
    swin_transformer_rules,
)
from nnunet_reca.weights.layout import Layout
from nnunet_reca.weights.nnformer import nnformer_rules
from nnunet_reca.weights.rename import Rule
from nnunet_reca.weights.swin_unet import swin_unet_rules
from nnunet_reca.weights.swin_unetr import Merging, fold_duplicates, swin_encoder_rules, swin_unetr_rules

_DECODER = r"decoder\..*"
_ATTENTION_HEAD = r"encoder\.attention\..*"
#: where the transformer of a shallower network meets its ResNet and its decoder
_VIT_JOINT = r"encoder\.patch_embed\..*|decoder\.blocks\.\d\.refine\.0\..*"
#: heads of the pretext tasks, and what else self-supervised checkpoints hold beside the encoder
_PRETEXT = r"(?:rotation_head|contrastive_head|conv|convTrans3d|norm|mask_token|decoder|projector)(?:\..*)?"
_SWIN_UNETR_VARIANTS = {
    r"(?:swinViT\.)?layers[1-4]c\..+": "MONAI's SwinUNETR with use_v2=True (a residual convolution before each stage)",
    r"(?:encoder|decoder)\d+\..*norm\d\..+": "a SwinUNETR whose norms have parameters (norm_name)",
}
_SWIN_V2 = {r".*\.(?:logit_scale|cpb_mlp\..+|continuous_position_bias_mlp\..+)": "Swin Transformer V2"}
_PUBLISHED_POOLING = (
    "the published network pools without its border rows; this one with them, so that outputs differ a little"
)


def known_layouts(merging: Merging = "merging") -> list[Layout]:
    """Every layout, the more specific first.

    Args:
        merging: patch merging of SwinUNETR checkpoints, which their names do not tell, see
            :func:`nnunet_reca.weights.swin_unetr.swin_unetr_rules`.
    """
    return [*_swin_unetr_layouts(merging), *_NNFORMER, *_SWIN_UNET, *_DA_TRANSUNET]


def _swin_unetr_layouts(merging: Merging) -> list[Layout]:
    def whole(source: Mapping[str, Tensor], network: nn.Module) -> list[Rule]:
        return swin_unetr_rules(_dimensions(network), merging)

    def encoder(source: Mapping[str, Tensor], network: nn.Module) -> list[Rule]:
        rules = swin_encoder_rules("", _dimensions(network), merging)
        return [*rules, Rule(_PRETEXT, None)]

    def complete(renamed: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
        return fold_duplicates(renamed) if merging == "duplicated" and _dimensions(network) == 3 else renamed

    note = f"patch merging of the source is taken to be {merging!r}"
    if merging == "merging":
        note += ", MONAI's from 1.5 on; 3D weights of the RecA code or MONAI 0.9 to 1.4 need --merging duplicated"
    elif merging == "duplicated":
        note += "; this network merges each sub-lattice once, so that outputs in 3D are close, not equal"
    return [
        Layout(
            "SwinUNETR (MONAI or RecA)",
            "SwinUNETR",
            (r"swinViT\.layers1\..+", r"decoder1\..+"),
            whole,
            depth_dependent=r"decoder\.(bottleneck|skips)\..*",
            complete=complete,
            note=note,
            unsupported=_SWIN_UNETR_VARIANTS,
        ),
        Layout(
            "SwinUNETR encoder (self-supervised)",
            "SwinUNETR",
            (r"layers1\.0\.blocks\.0\.norm1\.weight",),
            encoder,
            absent=_DECODER,
            complete=complete,
            note=note,
            unsupported=_SWIN_UNETR_VARIANTS,
        ),
    ]


def _resnet_layers(source: Mapping[str, Tensor]) -> list[int]:
    """Units of each stage of the published ResNet."""
    units = [re.search(r"body\.block(\d)\.unit(\d+)\.conv1\.", name) for name in source]
    stages = [int(m[1]) for m in units if m]
    return [stages.count(stage) for stage in sorted(set(stages))]


def _dimensions(network: nn.Module) -> int:
    return len(network.total_stride)  # type: ignore[arg-type]


_NNFORMER = [
    Layout(
        "nnFormer",
        "NnFormer",
        (r"model_down\.patch_embed\..+",),
        lambda source, network: nnformer_rules(exact_tables=True),
    ),
]

_SWIN_UNET = [
    Layout(
        "Swin-Unet",
        "SwinUnet",
        (r"layers_up\..+", r"concat_back_dim\..+"),
        lambda source, network: swin_unet_rules(),
        depth_dependent=r"encoder\.norm\..*",
    ),
    Layout(
        "Swin Transformer (ImageNet)",
        "SwinUnet",
        (
            r"layers\.0\.blocks\.0\.norm1\.weight|features\.1\.0\.norm1\.weight|stages\.0\.blocks\.0\.attn\.w_msa\.qkv\.weight",
        ),
        lambda source, network: swin_transformer_rules(source),
        absent=r"decoder\.(?!stages\.).*|encoder\.norm\..*",
        depth_dependent=r"encoder\.norm\..*",
        complete=lambda renamed, network: mirror_decoder(renamed),
        unsupported=_SWIN_V2,
    ),
]

_DA_TRANSUNET = [
    Layout(
        "DA-TransUNet",
        "DATransUnet",
        (r"transformer\.embeddings\.hybrid_model\..+",),
        lambda source, network: da_transunet_rules(_resnet_layers(source), [False, True, True]),
        depth_dependent=_VIT_JOINT,
        note=_PUBLISHED_POOLING,
    ),
    Layout(
        "R50+ViT (Google .npz)",
        "DATransUnet",
        ("conv_root/kernel", "Transformer/.+"),
        lambda source, network: google_hybrid_rules(),
        absent=rf"{_DECODER}|{_ATTENTION_HEAD}",
        depth_dependent=_VIT_JOINT,
        complete=lambda renamed, network: count_from_zero(renamed),
    ),
    Layout(
        "ViT (Google .npz)",
        "DATransUnet",
        ("Transformer/encoderblock_0/.+",),
        lambda source, network: google_vit_rules(),
        absent=rf"{_DECODER}|{_ATTENTION_HEAD}|encoder\.(resnet|patch_embed)\..*",
    ),
]

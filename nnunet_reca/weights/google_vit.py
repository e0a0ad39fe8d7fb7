"""Google's ViT and hybrid ViT ``.npz`` files: layouts and rename tables."""

import re

from torch import Tensor

from nnunet_reca.architectures import DATransUnet
from nnunet_reca.weights.layout import Layout
from nnunet_reca.weights.rename import Rule

#: what neither file has
_ABSENT = r"decoder\..*|encoder\.attention\..*"


def google_vit_rules() -> list[Rule]:
    """Rename table, Google's ViT ``.npz`` -> the transformer of :class:`nnunet_reca.architectures.DATransUnet`.

    The class token and the classifier are dropped, and so is the patch embedding, which has no counterpart behind a
    ResNet.
    """
    layer, ours = r"Transformer/encoderblock_(\d+)/", "encoder.transformer.blocks.{0}."
    attention = rf"{layer}MultiHeadDotProductAttention_1/"
    rules = [Rule(r"cls|head/.+|pre_logits/.+|embedding/.+", None)]
    for i, name in enumerate(("query", "key", "value")):
        rules += [
            Rule(rf"{attention}{name}/kernel", ours + "attn.qkv.weight", _projection, part=(i, 3)),
            Rule(rf"{attention}{name}/bias", ours + "attn.qkv.bias", Tensor.flatten, part=(i, 3)),
        ]
    rules += [
        Rule(rf"{attention}out/kernel", ours + "attn.proj.weight", lambda t: t.flatten(0, -2).T),
        Rule(rf"{attention}out/bias", ours + "attn.proj.bias"),
    ]
    for source, target in ((rf"{layer}LayerNorm_0", ours + "norm1"), (rf"{layer}LayerNorm_2", ours + "norm2")):
        rules += _norm(source, target)
    for i in range(2):
        rules += [
            Rule(rf"{layer}MlpBlock_3/Dense_{i}/kernel", f"{ours}mlp.fc{i + 1}.weight", Tensor.t),
            Rule(rf"{layer}MlpBlock_3/Dense_{i}/bias", f"{ours}mlp.fc{i + 1}.bias"),
        ]
    return [
        *rules,
        *_norm("Transformer/encoder_norm", "encoder.transformer.norm"),
        Rule("Transformer/posembed_input/pos_embedding", "encoder.position_embedding", lambda t: t[:, 1:]),
    ]


def google_hybrid_rules() -> list[Rule]:
    """Rename table, Google's R50+ViT ``.npz`` -> the encoder of :class:`nnunet_reca.architectures.DATransUnet`."""
    unit, ours = r"block(\d)/unit(\d+)/", "encoder.resnet.stages.{0}.{1}."
    rules = [Rule("conv_root/kernel", "encoder.resnet.root.0.weight", _convolution)]
    rules += _norm("gn_root", "encoder.resnet.root.1")
    for i in range(3):
        rules.append(Rule(rf"{unit}conv{i + 1}/kernel", f"{ours}residual.{3 * i}.weight", _convolution))
        rules += _norm(rf"{unit}gn{i + 1}", f"{ours}residual.{3 * i + 1}")
    rules.append(Rule(rf"{unit}conv_proj/kernel", ours + "shortcut.0.weight", _convolution))
    embedding = [
        Rule("embedding/kernel", "encoder.patch_embed.weight", _convolution),
        Rule("embedding/bias", "encoder.patch_embed.bias"),
    ]
    return [*rules, *_norm(rf"{unit}gn_proj", ours + "shortcut.1"), *embedding, *google_vit_rules()]


def count_from_zero(renamed: dict[str, Tensor]) -> dict[str, Tensor]:
    """Google numbers the ResNet's stages and units from 1."""

    def shifted(match: re.Match[str]) -> str:
        return f"encoder.resnet.stages.{int(match[1]) - 1}.{int(match[2]) - 1}."

    return {re.sub(r"^encoder\.resnet\.stages\.(\d+)\.(\d+)\.", shifted, n): t for n, t in renamed.items()}


def _norm(source: str, target: str) -> list[Rule]:
    return [
        Rule(rf"{source}/scale", f"{target}.weight", Tensor.flatten),
        Rule(rf"{source}/bias", f"{target}.bias", Tensor.flatten),
    ]


def _projection(kernel: Tensor) -> Tensor:
    """(in, heads, head_dim) -> (heads * head_dim, in)."""
    return kernel.flatten(1).T


def _convolution(kernel: Tensor) -> Tensor:
    """(H, W, in, out) -> (out, in, H, W)."""
    return kernel.permute(3, 2, 0, 1)


LAYOUTS = (
    Layout(
        "R50+ViT (Google .npz)",
        DATransUnet,
        ("conv_root/kernel", "Transformer/.+"),
        lambda source, network: google_hybrid_rules(),
        absent=_ABSENT,
        complete=lambda renamed, network: count_from_zero(renamed),
    ),
    Layout(
        "ViT (Google .npz)",
        DATransUnet,
        ("Transformer/encoderblock_0/.+",),
        lambda source, network: google_vit_rules(),
        absent=rf"{_ABSENT}|encoder\.(resnet|patch_embed)\..*",
    ),
)

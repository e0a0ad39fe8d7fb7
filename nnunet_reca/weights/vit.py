"""Transformer encoder of TransUNet and DA-TransUNet: rename table."""

from nnunet_reca.weights.rename import Rule


def vit_encoder_rules(source: str, target: str) -> list[Rule]:
    """Rename table, published ``Encoder`` -> :class:`nnunet_reca.blocks.VitEncoder`.

    Args:
        source: prefix of the published names, such as ``encoder.``.
        target: prefix of ours.
    """
    layer, block = source.replace(".", r"\.") + r"layer\.(\d+)\.", target + "blocks.{0}."
    rules = [
        Rule(rf"{layer}attn\.{name}\.(weight|bias)", block + "attn.qkv.{1}", part=(i, 3))
        for i, name in enumerate(("query", "key", "value"))
    ]
    return [
        *rules,
        Rule(rf"{layer}attn\.out\.(weight|bias)", block + "attn.proj.{1}"),
        Rule(rf"{layer}attention_norm\.(weight|bias)", block + "norm1.{1}"),
        Rule(rf"{layer}ffn_norm\.(weight|bias)", block + "norm2.{1}"),
        Rule(rf"{layer}ffn\.fc([12])\.(weight|bias)", block + "mlp.fc{1}.{2}"),
        Rule(source.replace(".", r"\.") + r"encoder_norm\.(weight|bias)", target + "norm.{0}"),
    ]

"""Primus of dynamic_network_architectures, which nnU-Net's Primus trainers and nnssl train: rename table."""

from nnunet_reca.weights.rename import Rule


def primus_rules() -> list[Rule]:
    """Rename table, published layout -> :class:`nnunet_reca.architectures.Primus`, all versions and sizes."""
    return [
        # convolutions and norms of the stem stand in a state dict twice
        Rule(r"mask_token|eva\.rope\..+|.*\.all_modules\..+", None),
        Rule(r"down_projection\.(.+)", "encoder.patch_embed.{0}"),
        Rule(r"eva\.pos_embed", "encoder.position_embedding"),
        Rule(r"eva\.((?:blocks|norm)\..+)", "encoder.transformer.{0}"),
        Rule(r"up_projection\.decode\.(.+)", "decoder.seg_layers.0.{0}"),
    ]

"""All published layouts that :func:`nnunet_reca.weights.convert.convert` recognises."""

from collections.abc import Collection, Mapping

from torch import Tensor, nn

from nnunet_reca.weights.convert import Layout
from nnunet_reca.weights.nnformer import nnformer_rules
from nnunet_reca.weights.rename import Rule
from nnunet_reca.weights.swin_unetr import Merging, swin_encoder_rules, swin_unetr_rules

_DECODER = r"decoder\..*"


def known_layouts(merging: Merging = "merging") -> list[Layout]:
    """Every layout, the more specific first.

    Args:
        merging: order of the sub-lattices in SwinUNETR checkpoints, which their names do not tell, see
            :func:`nnunet_reca.weights.swin_unetr.swin_unetr_rules`.
    """

    def swin_unetr(source: Mapping[str, Tensor], network: nn.Module) -> list[Rule]:
        return swin_unetr_rules(_dimensions(network), merging, fold_duplicates=True)

    def swin_unetr_encoder(source: Mapping[str, Tensor], network: nn.Module) -> list[Rule]:
        prefix = r"(?:swinViT\.|encoder\.)?"
        encoder = swin_encoder_rules(prefix, _dimensions(network), merging, fold_duplicates=True)
        return [*encoder, Rule(_PRETEXT, None)]

    return [
        Layout(
            "SwinUNETR (MONAI or RecA)",
            "SwinUNETR",
            lambda names: _any(names, "swinViT.layers1.") and _any(names, "decoder1."),
            swin_unetr,
            absent=r"$^",
            depth_dependent=r"decoder\.(bottleneck|skips)\..*",
        ),
        Layout(
            "SwinUNETR encoder (self-supervised)",
            "SwinUNETR",
            lambda names: any(n.endswith("layers1.0.blocks.0.norm1.weight") for n in names),
            swin_unetr_encoder,
            absent=_DECODER,
        ),
        Layout(
            "nnFormer",
            "NnFormer",
            lambda names: _any(names, "model_down.patch_embed."),
            lambda source, network: nnformer_rules(exact_tables=True),
        ),
    ]


#: heads of the pretext tasks, and what else such checkpoints hold beside the encoder
_PRETEXT = (
    r"(?:encoder\.)?(?:rotation_head|contrastive_head|conv|convTrans3d|norm|mask_token|decoder|projector)(?:\..*)?"
)


def _dimensions(network: nn.Module) -> int:
    return len(network.total_stride)  # type: ignore[arg-type]


def _any(names: Collection[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names)

"""The table of published layouts; each is described in the file of its source."""

from nnunet_reca.weights import (
    da_transunet,
    google_vit,
    nnformer,
    primus,
    swin_transformer,
    swin_unet,
    swin_unetr,
    timm_vit,
)
from nnunet_reca.weights.layout import Layout


def known_layouts(merging: swin_unetr.Merging = "merging") -> list[Layout]:
    """Every layout; of one network, the more specific first.

    Args:
        merging: patch merging of SwinUNETR checkpoints, which their names do not tell, see
            :func:`nnunet_reca.weights.swin_unetr.swin_unetr_rules`.
    """
    return [
        *swin_unetr.layouts(merging),
        *nnformer.LAYOUTS,
        *swin_unet.LAYOUTS,
        *swin_transformer.LAYOUTS,
        *da_transunet.LAYOUTS,
        *google_vit.LAYOUTS,
        *primus.LAYOUTS,
        *timm_vit.LAYOUTS,
    ]

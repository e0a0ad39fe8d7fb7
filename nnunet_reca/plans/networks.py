"""The table of networks; trainer names, trainers, plans and weights follow from it."""

from nnunet_reca.plans.da_transunet import DA_TRANSUNET
from nnunet_reca.plans.network import Network
from nnunet_reca.plans.nnformer import NNFORMER
from nnunet_reca.plans.primus import PRIMUS
from nnunet_reca.plans.swin_unet import SWIN_UNET
from nnunet_reca.plans.swin_unetr import SWIN_UNETR

#: name of a network, as in trainer names -> how it is built
NETWORKS: dict[str, Network] = {
    network.name: network
    for network in (
        SWIN_UNETR,
        NNFORMER,
        SWIN_UNET,
        DA_TRANSUNET,
        *PRIMUS,
    )
}

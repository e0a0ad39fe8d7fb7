"""The networks, one paper per file; their keyword arguments are JSON-friendly and are a plan's ``arch_kwargs``."""

from nnunet_reca.architectures.da_transunet import DATransUnet
from nnunet_reca.architectures.nnformer import NnFormer
from nnunet_reca.architectures.primus import Primus
from nnunet_reca.architectures.swin_unet import SwinUnet
from nnunet_reca.architectures.swin_unetr import SwinUNETR

__all__ = ["DATransUnet", "NnFormer", "Primus", "SwinUNETR", "SwinUnet"]

"""Modules shared by the networks: attention, Swin block and stage, patch layers, convolutional decoder parts."""

from nnunet_reca.blocks.attention import WindowAttention, WindowCrossAttention
from nnunet_reca.blocks.carry import Carry, NoCarry, SumCarry, parse_carry
from nnunet_reca.blocks.checkpoint import Checkpointing, set_checkpointing
from nnunet_reca.blocks.conv import InstanceNorm, conv_norm_relu, segmentation_head, transposed_conv
from nnunet_reca.blocks.conv_patch import ConvExpanding, ConvMerging, ConvPatchEmbed
from nnunet_reca.blocks.cross_block import SwinCrossBlock
from nnunet_reca.blocks.drop_path import drop_path_rates
from nnunet_reca.blocks.dual_attention import DualAttentionHead
from nnunet_reca.blocks.eva import EvaBlock
from nnunet_reca.blocks.heads import SupervisedDecoder
from nnunet_reca.blocks.init import initialize_weights
from nnunet_reca.blocks.norm import LayerNorm
from nnunet_reca.blocks.patch import PatchEmbed, PatchMerging, channels_first, channels_last
from nnunet_reca.blocks.patch_expand import PatchExpand, arrange
from nnunet_reca.blocks.residual import ResidualBlock, UpBlock
from nnunet_reca.blocks.resnet import HybridResNet
from nnunet_reca.blocks.stage import SwinStage
from nnunet_reca.blocks.swin_block import SwinBlock
from nnunet_reca.blocks.transformer import TransformerEncoder
from nnunet_reca.blocks.vit import VitEncoder

__all__ = [
    "Carry",
    "Checkpointing",
    "ConvExpanding",
    "ConvMerging",
    "ConvPatchEmbed",
    "DualAttentionHead",
    "EvaBlock",
    "HybridResNet",
    "InstanceNorm",
    "LayerNorm",
    "NoCarry",
    "PatchEmbed",
    "PatchExpand",
    "PatchMerging",
    "ResidualBlock",
    "SumCarry",
    "SupervisedDecoder",
    "SwinBlock",
    "SwinCrossBlock",
    "SwinStage",
    "TransformerEncoder",
    "UpBlock",
    "VitEncoder",
    "WindowAttention",
    "WindowCrossAttention",
    "arrange",
    "channels_first",
    "channels_last",
    "conv_norm_relu",
    "drop_path_rates",
    "initialize_weights",
    "parse_carry",
    "segmentation_head",
    "set_checkpointing",
    "transposed_conv",
]

"""Trainers of Swin-Unet: self-attention and its Recurrent-Attention twin."""

from nnunet_reca.trainers.base import RecaTrainer


class nnUNetTrainerSwinUnet(RecaTrainer):
    """Swin-Unet with self-attention, 2D and 3D; the fair comparison for its twin."""

    reca_network = "SwinUnet"
    reca_recurrent = False


class nnUNetTrainerSwinUnetReca(nnUNetTrainerSwinUnet):
    """Swin-Unet with Recurrent-Attention in the encoder's stages, 2D and 3D."""

    reca_recurrent = True

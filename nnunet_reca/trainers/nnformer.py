"""Trainers of nnFormer: self-attention and its Recurrent-Attention twin."""

from nnunet_reca.trainers.base import RecaTrainer


class nnUNetTrainerNnFormer(RecaTrainer):
    """nnFormer with self-attention, 2D and 3D; the fair comparison for its twin."""

    reca_network = "NnFormer"
    reca_recurrent = False


class nnUNetTrainerNnFormerReca(nnUNetTrainerNnFormer):
    """nnFormer with Recurrent-Attention in the encoder's stages, 2D and 3D."""

    reca_recurrent = True

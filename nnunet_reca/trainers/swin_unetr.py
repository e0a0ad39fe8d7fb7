"""Trainers of SwinUNETR: self-attention and its Recurrent-Attention twin."""

from nnunet_reca.trainers.base import RecaTrainer


class nnUNetTrainerSwinUNETR(RecaTrainer):
    """SwinUNETR with self-attention, 2D and 3D; the fair comparison for its twin."""

    reca_network = "SwinUNETR"
    reca_recurrent = False


class nnUNetTrainerSwinUNETRReca(nnUNetTrainerSwinUNETR):
    """SwinUNETR with Recurrent-Attention in the encoder's stages, 2D and 3D."""

    reca_recurrent = True

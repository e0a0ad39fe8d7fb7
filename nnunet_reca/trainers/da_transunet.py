"""Trainers of DA-TransUNet: self-attention and its Recurrent-Attention twin."""

from nnunet_reca.trainers.base import RecaTrainer


class nnUNetTrainerDATransUnet(RecaTrainer):
    """DA-TransUNet with self-attention, 2D only; the fair comparison for its twin."""

    reca_network = "DATransUnet"
    reca_recurrent = False


class nnUNetTrainerDATransUnetReca(nnUNetTrainerDATransUnet):
    """DA-TransUNet with Recurrent-Attention through all layers of the transformer, 2D only."""

    reca_recurrent = True

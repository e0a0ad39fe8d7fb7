"""nnU-Net's own trainer with as many steps as the trainings of docs/evidence.md; found by ``nnUNet_extTrainer``."""

from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


class nnUNetTrainer_2000steps(nnUNetTrainer):
    """nnU-Net's network and recipe, in 40 epochs of 50 steps like those of a ``_tiny`` trainer."""

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008  nnU-Net reads this signature
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = 40
        self.num_iterations_per_epoch = 50
        self.num_val_iterations_per_epoch = 5

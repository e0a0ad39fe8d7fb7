"""The training recipe of all networks: optimizer, schedule, clipping, in one place."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from nnunet_reca.trainers.optimizer import clipped_adamw


@dataclass(frozen=True)
class Recipe:
    """AdamW with linear warm-up, then poly decay; gradients clipped to a norm.

    The values are those with which a transformer first drew level with nnU-Net inside nnU-Net (Primus, Wald et al.
    2025, arXiv 2503.01835): learning rate 3e-4, weight decay 5e-2, 50 of 1000 epochs of warm-up, gradient norm 1.
    Before, SwinUNETR and nnFormer trailed there with 1e-4 and less, no warm-up (nnU-Net Revisited, arXiv 2404.09556).
    The poly exponent 0.9 is nnU-Net's. Data, augmentation, loss and deep supervision stay nnU-Net's own.

    Attributes:
        initial_lr: peak learning rate, after warm-up.
        weight_decay: of weight matrices and convolutions; norms, biases and bias tables have none.
        warmup_fraction: of all epochs.
        exponent: of the poly decay.
        gradient_norm: largest norm of all gradients together.
        betas: decay of AdamW's moments; Primus is trained with (0.9, 0.98).
        iterations_per_epoch: training steps per epoch; nnU-Net's 250.
        validation_iterations_per_epoch: validation steps per epoch; nnU-Net's 50.
    """

    initial_lr: float = 3e-4
    weight_decay: float = 5e-2
    warmup_fraction: float = 0.05
    exponent: float = 0.9
    gradient_norm: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)
    iterations_per_epoch: int = 250
    validation_iterations_per_epoch: int = 50

    def learning_rate(self, epoch: int, num_epochs: int) -> float:
        """Learning rate of an epoch, in closed form: nnU-Net does not save the scheduler's state."""
        warmup = math.ceil(self.warmup_fraction * num_epochs) if num_epochs > 1 else 0
        if epoch < warmup:
            return self.initial_lr * (epoch + 1) / (warmup + 1)
        return self.initial_lr * (1 - (epoch - warmup) / (num_epochs - warmup)) ** self.exponent


BASE = Recipe()

#: For CPUs and quick looks: short epochs, and the learning rate that was best of 2e-3, 4e-3 and 8e-3 after 600 steps on
#: the example data (validation Dice 0.830, 0.839, 0.834; benchmarks/tiny_size.py).
TINY = Recipe(initial_lr=4e-3, iterations_per_epoch=50, validation_iterations_per_epoch=5)

RECIPES = {"base": BASE, "tiny": TINY}


class EpochSchedule(LRScheduler):
    """Sets the recipe's learning rate for the epoch that nnU-Net names in ``step(epoch)``."""

    def __init__(self, optimizer: torch.optim.Optimizer, recipe: Recipe, num_epochs: int) -> None:
        self.recipe = recipe
        self.num_epochs = num_epochs
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        rate = self.recipe.learning_rate(max(0, self.last_epoch), self.num_epochs)
        return [rate for _ in self.optimizer.param_groups]

    def step(self, epoch: int | None = None) -> None:
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        for group, rate in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = rate
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters with weight decay, and without: norms, biases, and what modules name in ``no_weight_decay``."""
    never = {
        id(getattr(module, name, None))
        for module in network.modules()
        for name in getattr(module, "no_weight_decay", ())
    }
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for parameter in network.parameters():
        (plain if parameter.ndim <= 1 or id(parameter) in never else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


def build_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW of the recipe, see ``clipped_adamw``."""
    groups = parameter_groups(network, recipe.weight_decay)
    return clipped_adamw(groups, lr=recipe.initial_lr, betas=recipe.betas, gradient_norm=recipe.gradient_norm)

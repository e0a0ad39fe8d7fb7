"""What all trainers share: the plan is rewritten before nnU-Net reads it, and the recipe replaces nnU-Net's SGD."""

import dataclasses
import os
import random
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn

from nnunet_reca.memory import TrainingMemory, training_memory
from nnunet_reca.memory.measured import peak_memory
from nnunet_reca.memory.warning import memory_warning
from nnunet_reca.plans import rewrite_plan
from nnunet_reca.plans.networks import NETWORKS
from nnunet_reca.trainers.options import rewrite_arguments
from nnunet_reca.trainers.precision import set_precision
from nnunet_reca.trainers.recipe import RECIPES, EpochSchedule, build_optimizer
from nnunet_reca.trainers.variables import ITERATIONS_VARIABLE, SEED_VARIABLE, THREADS_VARIABLE, whole_number

#: Training steps in a row whose loss may be NaN or infinite; their updates are skipped.
NON_FINITE_LIMIT = 50


class RecaTrainer(nnUNetTrainer):
    """nnU-Net trainer of a network of this package; subclasses only say which, and with which options.

    The constructor puts the network into ``plans["configurations"][configuration]["architecture"]``; nnU-Net then
    builds it, derives the deep-supervision scales from it and saves the plan for prediction.

    Attributes:
        reca_network: key of :data:`nnunet_reca.plans.networks.NETWORKS`.
        reca_recurrent: Recurrent-Attention, or its self-attention twin.
        reca_options: what the options of the name set, see :data:`nnunet_reca.trainers.options.OPTIONS`; the trainer
            reads ``size`` (of its recipe), ``precision``, ``learning_rate``, ``seed`` and ``epochs``, the plan the
            others.

    Raises:
        ValueError: if the plan does not suit the network, before anything is written.
    """

    reca_network: ClassVar[str]
    reca_recurrent: ClassVar[bool]
    reca_options: ClassVar[Mapping[str, Any]] = {}
    num_epochs: int
    save_every: int

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008  nnU-Net reads this signature
    ) -> None:
        iterations, threads = whole_number(ITERATIONS_VARIABLE), whole_number(THREADS_VARIABLE)
        default_seed = whole_number(SEED_VARIABLE)
        super().__init__(self.rewritten(plans, configuration), configuration, fold, dataset_json, device)
        self.seed: int | None = self.reca_options.get("seed", default_seed)
        network = NETWORKS[self.reca_network]
        size = self.reca_options.get("size", "base")
        self.recipe = dataclasses.replace(RECIPES[size], **network.recipes.get(size, {}))
        if "learning_rate" in self.reca_options:
            self.recipe = dataclasses.replace(self.recipe, initial_lr=self.reca_options["learning_rate"])
        self.initial_lr = self.recipe.initial_lr
        self.weight_decay = self.recipe.weight_decay
        self.num_epochs = self.reca_options.get("epochs", self.num_epochs)
        self.num_iterations_per_epoch = iterations or self.recipe.iterations_per_epoch
        validation = self.recipe.validation_iterations_per_epoch
        self.num_val_iterations_per_epoch = min(validation, iterations) if iterations else validation
        if iterations:
            self.print_to_log_file(f"{ITERATIONS_VARIABLE} is set: {iterations} training steps per epoch")
        if self.seed is not None:
            self.print_to_log_file(f"Seed: {self.seed}")
        # nnU-Net's deep supervision loss divides zero by zero with a single scale
        scales = len(self.configuration_manager.pool_op_kernel_sizes) - 1
        self.enable_deep_supervision = network.deep_supervision and scales > 1
        self.non_finite_steps = 0
        if threads and device.type == "cpu":
            torch.set_num_threads(threads)
        # nnU-Net saves every 50 epochs, which a short training would never reach
        self.save_every = min(self.save_every, max(1, self.num_epochs // 20))

    @classmethod
    def rewritten(cls, plans: Mapping[str, Any], configuration: str) -> dict[str, Any]:
        """Copy of an nnU-Net plan that names this trainer's network."""
        arguments = rewrite_arguments(cls.reca_options, recurrent=cls.reca_recurrent)
        return rewrite_plan(plans, configuration, network=cls.reca_network, **arguments)

    @classmethod
    def new_network(cls, plans: Mapping[str, Any], configuration: str, dataset_json: dict[str, Any]) -> nn.Module:
        """The network this trainer would train, at its initialisation, on the CPU."""
        manager = PlansManager(cls.rewritten(plans, configuration))
        chosen = manager.get_configuration(configuration)
        channels = determine_num_input_channels(manager, chosen, dataset_json)
        heads = manager.get_label_manager(dataset_json).num_segmentation_heads
        return cls.build_network_architecture(manager, chosen, channels, heads, False)

    @classmethod
    def build_network_architecture(
        cls,
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """nnU-Net's network of the plan, in this trainer's precision; called for training and for prediction."""
        network = super().build_network_architecture(
            plans_manager, configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision
        )
        precision = cls.reca_options.get("precision")  # None is nnU-Net's: float16 mixed on CUDA, float32 elsewhere
        return set_precision(network, precision) if precision else network

    def initialize(self) -> None:
        _seed(self.seed, self.local_rank)
        super().initialize()
        if "precision" in self.reca_options:  # bfloat16 and float32 have range enough
            self.grad_scaler = None
        self.lay_out(self.network)

    def lay_out(self, network: nn.Module) -> nn.Module:
        """Put a network, which is returned, into the layout in which it trains."""
        if self.device.type == "cpu":  # where convolutions and their gradients are faster in this layout
            layout = torch.channels_last_3d if len(self.configuration_manager.patch_size) == 3 else torch.channels_last
            network.to(memory_format=layout)
        return network

    def set_deep_supervision_enabled(self, enabled: bool) -> None:
        """nnU-Net's switch, which its validation turns on at its end, whatever the training has."""
        super().set_deep_supervision_enabled(enabled and self.enable_deep_supervision)

    def on_epoch_start(self) -> None:
        _seed(self.seed, self.local_rank, self.current_epoch)
        super().on_epoch_start()

    def on_train_start(self) -> None:
        if not self.was_initialized:  # as nnU-Net does next; the batch of this process is known then
            self.initialize()
        if self.device.type == "cuda" and self.local_rank == 0:  # whose share of the batch is the largest
            self.warn_of_memory(self._memory_of_card)
        super().on_train_start()

    def warn_of_memory(self, free: Callable[[], tuple[int, int]]) -> None:
        """Say so in the log if a training step may take more bytes than are ``free()`` for it on a card of so many."""

        def estimate() -> TrainingMemory:
            plans, batch = self.plans_manager.plans, self.batch_size
            return training_memory(type(self), plans, self.configuration_name, self.dataset_json, batch_size=batch)

        if line := memory_warning(estimate, free):
            self.print_to_log_file(line)

    def _memory_of_card(self) -> tuple[int, int]:
        """Bytes that are free or held by this process, and all there are."""
        free, capacity = torch.cuda.mem_get_info(self.device)
        return free + torch.cuda.memory_reserved(self.device), capacity

    def on_train_end(self) -> None:
        super().on_train_end()
        peak = peak_memory(self.device)
        if peak is not None:
            self.print_to_log_file(f"Peak memory on {self.device.type}: {peak:.2f} GiB")

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, EpochSchedule]:
        optimizer = build_optimizer(self.network, self.recipe)
        return optimizer, EpochSchedule(optimizer, self.recipe, self.num_epochs)

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """nnU-Net's step; a loss that stays NaN or infinite ends the training instead of wasting its time.

        Raises:
            RuntimeError: after :data:`NON_FINITE_LIMIT` such steps in a row; checkpoints are kept as they are.
        """
        result = super().train_step(batch)
        self.non_finite_steps = 0 if np.isfinite(result["loss"]).all() else self.non_finite_steps + 1
        if self.non_finite_steps >= NON_FINITE_LIMIT:
            raise RuntimeError(
                f"expected a finite loss, got NaN or infinity in {self.non_finite_steps} training steps in a row; "
                f"training stops in epoch {self.current_epoch}, the checkpoints in {self.output_folder} are kept. "
                "Check the intensities of the preprocessed data, or lower the learning rate, as with _lr1en4 in the "
                "trainer's name"
            )
        return result

    def save_checkpoint(self, filename: str) -> None:
        """nnU-Net's checkpoint, written beside and moved into place: an interruption leaves the old one whole."""
        partial = f"{filename}.partial"
        super().save_checkpoint(partial)
        if os.path.isfile(partial):  # one process of several writes, and none with checkpointing disabled
            os.replace(partial, filename)


def _seed(seed: int | None, rank: int, epoch: int = -1) -> None:
    """Seed everything that nnU-Net draws from in this process, differently for each rank and epoch."""
    if seed is None:
        return
    state = np.random.SeedSequence([seed, rank, epoch + 1]).generate_state(1)[0]
    random.seed(int(state))
    np.random.seed(state)
    torch.manual_seed(int(state))

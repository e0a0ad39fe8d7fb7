"""A trainer's first steps on pretended tensors: its network, loss and optimizer, and no data, folder or device."""

import contextlib
import copy
import inspect
import io
import os
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from torch import Tensor, nn

from nnunet_reca.memory.backends import Backend
from nnunet_reca.memory.backward import backward
from nnunet_reca.memory.ledger import Kind, Ledger
from nnunet_reca.memory.pretend import Pretence, Pretended


class Rehearsal:
    """One training step of a trainer, as it is from the second on: the optimizer has its state.

    Args:
        trainer: as :func:`new_trainer` makes it.
        backend: device that is pretended.

    Attributes:
        ledger: bytes, see :meth:`step`.
        saved: bytes that autograd keeps for the backward pass, parameters excepted.
    """

    def __init__(self, trainer: nnUNetTrainer, backend: Backend) -> None:
        self.trainer = trainer
        self.ledger = Ledger(backend.unit)
        self.pretence = Pretence(backend, self.ledger)
        self.saved = 0
        with torch.device("meta"):
            trainer.network = build_network(trainer)

    def step(self) -> None:
        """Fill the ledger: its peak is that of the step."""
        with self.pretence.active():
            self._prepare()
            self.ledger.restart()
            self._step(*self._batch())

    def _prepare(self) -> None:
        """The network on the device, and an optimizer with its state."""
        trainer = self.trainer
        self.pretence.module(trainer.network)
        self._mark([*trainer.network.parameters(), *trainer.network.buffers()], Kind.PARAMETERS)
        trainer.network.train()
        trainer.optimizer, _ = trainer.configure_optimizers()
        trainer.loss = trainer._build_loss()
        for group in trainer.optimizer.param_groups:
            if group.get("foreach") is None and not group.get("fused"):  # PyTorch's choice by device
                group["foreach"] = self.pretence.backend.device.type == "cuda"
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)
        trainer.optimizer.step()
        for state in trainer.optimizer.state.values():
            self._mark(state.values(), Kind.OPTIMIZER)
        trainer.optimizer.zero_grad(set_to_none=True)

    def _batch(self) -> tuple[Tensor, Tensor | list[Tensor]]:
        """Images and labels, as nnU-Net's loaders give them."""
        trainer, patch = self.trainer, self.trainer.configuration_manager.patch_size
        labels = trainer.label_manager
        channels = len(labels.foreground_regions) + (labels.ignore_label is not None) if labels.has_regions else 1
        dtype = torch.bool if labels.has_regions else torch.int16
        scales = trainer._get_deep_supervision_scales() or [[1.0] * len(patch)]
        targets = [
            torch.empty(
                (trainer.batch_size, channels, *(round(n * s) for n, s in zip(patch, scale, strict=True))), dtype=dtype
            )
            for scale in scales
        ]
        data = torch.empty(trainer.batch_size, trainer.num_input_channels, *patch)
        return data, targets if trainer.enable_deep_supervision else targets[0]

    def _step(self, data: Tensor, target: Tensor | list[Tensor]) -> None:
        """nnU-Net's ``train_step``; its gradient scaler takes next to no memory."""
        trainer, device = self.trainer, self.pretence.backend.device.type
        trainer.optimizer.zero_grad(set_to_none=True)
        mixed = torch.autocast(device) if device == "cuda" else contextlib.nullcontext()
        with mixed, torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor):
            output = trainer.network(data)
            loss = [trainer.loss(output, target)]
        self.saved = self.ledger.now[Kind.ACTIVATIONS]
        output = [part.detach() for part in output] if isinstance(output, list | tuple) else output.detach()
        backward(loss, self.pretence)
        nn.utils.clip_grad_norm_(trainer.network.parameters(), 12)
        trainer.optimizer.step()

    def _pack(self, tensor: Tensor) -> Tensor:
        self._mark([tensor], Kind.ACTIVATIONS, only=Kind.TEMPORARIES)
        return tensor.detach()

    def _mark(self, tensors: Any, kind: Kind, *, only: Kind | None = None) -> None:
        self.ledger.mark([t.meta for t in tensors if isinstance(t, Pretended)], kind, only=only)


def new_trainer(
    kind: type[nnUNetTrainer],
    plans: Mapping[str, Any],
    configuration: str,
    dataset_json: Mapping[str, Any],
    device: torch.device,
    batch_size: int | None,
) -> nnUNetTrainer:
    """A trainer that leaves nothing behind: its folder is gone, it says nothing, random numbers go on as before."""
    plans = {"continue_training": False, **copy.deepcopy(dict(plans))}
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="nnunet_reca_"))
        variables = {"nnUNet_results": folder, "nnUNet_wandb_enabled": "0"}
        stack.enter_context(mock.patch.dict(os.environ, variables))
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        trainer = kind(plans, configuration, 0, copy.deepcopy(dict(dataset_json)), device)
    trainer.is_ddp, trainer.grad_scaler = False, None
    trainer._do_i_compile = lambda: False
    trainer.batch_size = batch_size or trainer.configuration_manager.batch_size
    trainer.num_input_channels = determine_num_input_channels(
        trainer.plans_manager, trainer.configuration_manager, trainer.dataset_json
    )
    return trainer


def build_network(trainer: nnUNetTrainer) -> nn.Module:
    """The trainer's network on the default device, laid out as it trains."""
    chosen = trainer.configuration_manager
    about: tuple[Any, ...] = trainer.plans_manager, chosen
    if "plans_manager" not in inspect.signature(trainer.build_network_architecture).parameters:
        # as before nnU-Net 2.8, which takes such trainers, too
        names = chosen.network_arch_class_name, chosen.network_arch_init_kwargs
        about = *names, chosen.network_arch_init_kwargs_req_import
    network = trainer.build_network_architecture(
        *about,
        trainer.num_input_channels,
        trainer.label_manager.num_segmentation_heads,
        trainer.enable_deep_supervision,
    )
    lay_out = getattr(trainer, "lay_out", None)  # trainers of others leave it as it is
    return network if lay_out is None else lay_out(network)


def trainer_class(name: str) -> type[nnUNetTrainer]:
    """A trainer's class, by nnU-Net's own look-up.

    Raises:
        ValueError: if nnU-Net finds none.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            found = recursive_find_trainer_class_by_name(name)
    except (RuntimeError, AssertionError):  # none, or one that is no trainer
        found = None
    if found is None:
        raise ValueError(f"expected the name of a trainer that nnU-Net finds, got {name!r}; see nnUNetv2_reca_doctor")
    return found


@contextlib.contextmanager
def random_numbers_kept() -> Iterator[None]:
    """Generators of random numbers are afterwards where they were."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def patched(
    plans: Mapping[str, Any], configuration: str, patch_size: Sequence[int] | None, batch_size: int | None
) -> dict[str, Any]:
    """Copy of a plan with another patch or batch size."""
    result = copy.deepcopy(dict(plans))
    if patch_size is not None:
        result["configurations"][configuration]["patch_size"] = list(patch_size)
    if batch_size is not None:
        result["configurations"][configuration]["batch_size"] = batch_size
    return result

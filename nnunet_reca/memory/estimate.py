"""Peak memory of a training step, found without allocating any of it."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: sizes of graphics cards that :meth:`TrainingMemory.text` speaks of, in GB
CARDS = (8, 11, 24, 40, 80)
#: Bytes of a CUDA device that no tensor has: the driver's context and libraries, workspaces of cuDNN, and what lies
#: idle between the allocator's blocks. Not estimated; a round figure.
RESERVE = {"cuda": 10**9, "cpu": 0}


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes of tensors at the moment of a training step when most are alive; the parts sum up to the peak.

    Attributes:
        parameters: of the network, buffers included.
        gradients: of the parameters, as far as they are there at that moment.
        optimizer: state of the optimizer.
        activations: what autograd keeps of the forward pass for the backward pass, at that moment.
        temporaries: everything else, such as results that are not saved, and gradients of activations.
        saved: what autograd keeps when the forward pass has ended.
        device: type of the device, "cuda" or "cpu".
    """

    parameters: int
    gradients: int
    optimizer: int
    activations: int
    temporaries: int
    saved: int
    device: str

    @property
    def total(self) -> int:
        """Bytes at the peak."""
        return self.parameters + self.gradients + self.optimizer + self.activations + self.temporaries

    def fits(self, capacity: int) -> bool:
        """Whether the step fits a device of ``capacity`` bytes, of which :data:`RESERVE` is not for tensors."""
        return self.total + RESERVE[self.device] <= capacity

    def text(self) -> str:
        """The parts and the peak in GB (10^9 bytes), and the cards that suffice."""
        parts = ("parameters", "gradients", "optimizer", "activations", "temporaries")
        lines = [f"{name:<12}{getattr(self, name) / 1e9:8.2f} GB" for name in parts]
        lines.append(f"{'peak':<12}{self.total / 1e9:8.2f} GB")
        if self.device == "cuda":
            lines += [f"fits in {size} GB: {'yes' if self.fits(size * 10**9) else 'no'}" for size in CARDS]
        return "\n".join(lines)


def training_memory(
    trainer: "str | type[Any]",
    plans: Mapping[str, Any],
    configuration: str,
    dataset_json: Mapping[str, Any],
    *,
    device: str = "cuda",
    patch_size: Sequence[int] | None = None,
    batch_size: int | None = None,
) -> TrainingMemory:
    """Peak memory of a training step; estimated on tensors without data, so that no device is needed.

    The step is the trainer's own network, loss, precision and optimizer, in nnU-Net's ``train_step``; without
    ``torch.compile``, which may take less.

    Args:
        trainer: any trainer's name that nnU-Net finds, stock ones included, or its class.
        plans: content of a plans file.
        configuration: such as ``3d_fullres``.
        dataset_json: content of the data set's ``dataset.json``.
        device: type of the device that trains.
        patch_size: instead of the plan's.
        batch_size: instead of the plan's.

    Raises:
        ValueError: for an unknown trainer, configuration or device, a plan that does not suit the network, or a PyTorch
            that is too old.
    """
    import torch

    from nnunet_reca.ops import _torch

    _check(plans, configuration, device, patch_size, batch_size)
    if not _torch.ESTIMATES_MEMORY:
        raise ValueError(
            f"expected a newer PyTorch than {torch.__version__} to estimate memory; update it, or measure a step"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no CUDA device, which is not needed
        from nnunet_reca.memory.backends import BACKENDS
        from nnunet_reca.memory.rehearsal import Rehearsal, new_trainer, patched, random_numbers_kept, trainer_class

        kind = trainer_class(trainer) if isinstance(trainer, str) else trainer
        backend = BACKENDS[device]
        with random_numbers_kept():
            plans = patched(plans, configuration, patch_size, batch_size)
            rehearsal = Rehearsal(
                new_trainer(kind, plans, configuration, dataset_json, backend.device, batch_size), backend
            )
            rehearsal.step()
    parts = {kind.value: size for kind, size in rehearsal.ledger.peak.items()}
    return TrainingMemory(**parts, saved=rehearsal.saved, device=device)


def _check(
    plans: Mapping[str, Any], configuration: str, device: str, patch_size: Sequence[int] | None, batch_size: int | None
) -> None:
    """Raise for what no plan can be."""
    if device not in RESERVE:
        raise ValueError(f"expected a device of {sorted(RESERVE)}, got {device!r}; choose one of them")
    configurations = plans["configurations"]
    if configuration not in configurations:
        raise ValueError(
            f"expected a configuration of the plan, {sorted(configurations)}, got {configuration!r}; choose one of them"
        )
    for name, sizes in (("patch_size", patch_size), ("batch_size", None if batch_size is None else [batch_size])):
        if sizes is not None and any(size < 1 for size in sizes):
            raise ValueError(f"expected a {name} of at least 1, got {list(sizes)}; choose a larger one")
    planned = configurations[configuration].get("patch_size")
    if patch_size is not None and planned is not None and len(planned) != len(patch_size):
        raise ValueError(
            f"expected a patch_size of {len(planned)} sides for {configuration}, got {list(patch_size)}; give one for "
            "each axis"
        )

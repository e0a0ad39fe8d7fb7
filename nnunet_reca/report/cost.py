"""What models take: parameters, FLOPs of a patch, time of an epoch, peak memory where a log tells it, else an estimate.

The network is built on the meta device from the model's own plans.json, by its trainer where nnU-Net finds that, and
counted without deep supervision, as in prediction. FLOPs are ``torch.utils.flop_counter``'s, two for a multiply-add.
"""

import contextlib
import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from nnunet_reca.report.models import Model
from nnunet_reca.results.files import read_json
from nnunet_reca.results.logs import TrainingLog


@dataclass(frozen=True)
class Cost:
    """Cost of a model; None where it is not known.

    Attributes:
        model: name.
        patch_size: of the plan, in voxels; empty if it is not known.
        batch_size: of the plan.
        parameters: of the network.
        flops: of a forward pass of one patch.
        epochs: of the trainings, the fewest and the most, by their logs.
        epoch_seconds: median over the epochs of all trainings.
        peak_memory: largest in any log, in GiB.
        notes: what a reader must know, such as why something is not known.
        trainings: folds of all runs.
        hours: of all epochs in the logs of all trainings.
        estimated_memory: of a training step on CUDA, in GiB, where no log tells the peak.
    """

    model: str
    patch_size: tuple[int, ...]
    batch_size: int | None
    parameters: int | None
    flops: int | None
    epochs: tuple[int, int] | None
    epoch_seconds: float | None
    peak_memory: float | None
    notes: tuple[str, ...]
    trainings: int = 0
    hours: float | None = None
    estimated_memory: float | None = None


def cost_frame(costs: Sequence[Cost]) -> pd.DataFrame:
    """A row for every model."""
    texts = {
        "patch_size": ["x".join(map(str, cost.patch_size)) for cost in costs],
        "epochs": ["-".join(map(str, dict.fromkeys(cost.epochs or ()))) for cost in costs],
        "notes": ["; ".join(cost.notes) for cost in costs],
    }
    return pd.DataFrame([vars(cost) for cost in costs]).assign(**texts)


@dataclass
class _Network:
    """What a model's plan tells; the defaults stay where reading or building fails."""

    patch_size: tuple[int, ...] = ()
    batch_size: int | None = None
    parameters: int | None = None
    flops: int | None = None
    notes: list[str] = field(default_factory=list)


def cost_of_runs(name: str, runs: Sequence[Model], logs: Sequence[TrainingLog]) -> Cost:
    """Cost of a model of several runs, whose network is counted once.

    Args:
        runs: results folders.
        logs: of the folds of all runs.
    """
    cost = cost_of(runs[0], logs)
    others = [run.name.trainer for run in runs[1:] if _configurations(run) != _configurations(runs[0])]
    notes = [f"{trainer} was trained by other plans, whose network is not counted" for trainer in others]
    return replace(cost, model=name, notes=(*cost.notes, *notes))


def cost_of(model: Model, logs: Sequence[TrainingLog]) -> Cost:
    """Cost of a model from its plan and the logs of its trainings; never fails, notes say what is not known."""
    network = _network(model)
    seconds = [epoch.seconds for log in logs for epoch in log.epochs.values() if epoch.seconds is not None]
    lengths = [max(log.epochs) + 1 for log in logs if log.epochs]
    memory = [log.peak_memory for log in logs if log.peak_memory is not None]
    return Cost(
        str(model.name),
        network.patch_size,
        network.batch_size,
        network.parameters,
        network.flops,
        (min(lengths), max(lengths)) if lengths else None,
        statistics.median(seconds) if seconds else None,
        max(memory) if memory else None,
        tuple(network.notes),
        len(logs),
        sum(seconds) / 3600 if seconds else None,
        None if memory or network.parameters is None else _estimated_memory(model),
    )


def _estimated_memory(model: Model) -> float | None:
    """GiB of a training step on CUDA; None where it cannot be estimated."""
    from nnunet_reca.memory import training_memory

    trainer, _ = _trainer(model.name.trainer)
    plans, dataset_json = read_json(model.plans_file), read_json(model.dataset_file)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return training_memory(trainer, plans, model.name.configuration, dataset_json).total / 2**30
    except Exception:  # networks of others may do anything
        return None


def _configurations(model: Model) -> Any:
    """What a plan says of networks; None where it cannot be read."""
    try:
        return read_json(model.plans_file)["configurations"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _network(model: Model) -> _Network:
    """Plans and networks of others may fail in any way, which is a note."""
    network = _Network()
    try:
        _count(network, model)
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:120]
        unknown = "FLOPs" if network.parameters else "parameters and FLOPs"
        network.notes.append(f"{unknown} not known: {type(error).__name__}: {reason}")
    return network


def _count(network: _Network, model: Model) -> None:
    """Read the plan, build the network and count."""
    import torch
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
    from torch.utils.flop_counter import FlopCounterMode

    plans, dataset_json = PlansManager(read_json(model.plans_file)), read_json(model.dataset_file)
    chosen = plans.get_configuration(model.name.configuration)
    network.patch_size, network.batch_size = tuple(int(size) for size in chosen.patch_size), int(chosen.batch_size)
    if chosen.previous_stage_name:
        network.notes.append(f"second stage of a cascade, the cost of {chosen.previous_stage_name} comes on top")
    channels = determine_num_input_channels(plans, chosen, dataset_json)
    heads = plans.get_label_manager(dataset_json).num_segmentation_heads
    trainer, notes = _trainer(model.name.trainer)
    network.notes += notes
    with contextlib.redirect_stdout(io.StringIO()), torch.device("meta"), torch.no_grad():
        module = trainer.build_network_architecture(plans, chosen, channels, heads, False).eval()
        network.parameters = sum(parameter.numel() for parameter in module.parameters())
        with FlopCounterMode(display=False) as counter:
            module(torch.empty(1, channels, *network.patch_size, device="meta"))
    network.flops = int(counter.get_total_flops())


def _trainer(name: str) -> tuple[Any, list[str]]:
    """The trainer's class, nnU-Net's default where it is not installed here, and notes."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    from nnunet_reca import trainers
    from nnunet_reca.trainers.find import find_trainer

    try:
        return find_trainer(name), []
    except Exception:
        with contextlib.suppress(AttributeError, ValueError):  # without the start-up hook nnU-Net does not find ours
            return getattr(trainers, name), []
    return nnUNetTrainer, [f"nnU-Net does not find {name} here: counted is the network that its plans.json names"]

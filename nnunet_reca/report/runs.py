"""Runs: models whose trainers' names differ only in ``_seed<N>`` are trainings of one model, each with its own seed.

Any trainer may have the option in its name, wherever it stands there. A trainer without it is a run, too: one whose
seed nobody noted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from nnunet_reca.results.files import ModelName
from nnunet_reca.trainers.seeds import split_seed

#: run of a trainer without a seed in its name
UNSEEDED = ""


@dataclass(frozen=True)
class Run:
    """A training of a model, in a results folder of its own.

    Attributes:
        model: the name without the seed, which all runs of a model share.
        seed: as it stands in the name, :data:`UNSEEDED` without one.
    """

    model: ModelName
    seed: str


def runs_of(names: Sequence[ModelName]) -> dict[str, Run]:
    """Which model each results folder is a run of, by the folder's name.

    Where all are runs of a single model, each of them is a model of its own: to compare them is to ask what a seed
    does.
    """
    runs = {str(name): _run(name) for name in names}
    if len({run.model for run in runs.values()}) == 1:
        return {str(name): Run(name, UNSEEDED) for name in names}
    return runs


def models_of(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs by model, in the order in which models occur."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(str(run.model), []).append(run)
    return found


def seed_name(seed: str) -> str:
    """A run, for readers."""
    return f"seed {seed}" if seed != UNSEEDED else "no seed"


def _run(name: ModelName) -> Run:
    trainer, seed = split_seed(name.trainer)
    return Run(name._replace(trainer=trainer), UNSEEDED if seed is None else seed)

"""Runs: models whose trainers' names differ only in ``_seed<N>`` are trainings of one model, each with its own seed.

Any trainer may have the option in its name, wherever it stands there. A trainer without it is a run, too: one whose
seed nobody noted.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from nnunet_reca.results.files import ModelName
from nnunet_reca.trainers.names import parse_trainer_name
from nnunet_reca.trainers.options import OPTIONS

#: run of a trainer without a seed in its name
UNSEEDED = ""
_OPTION = next(option for option in OPTIONS if option.sets == "seed")
_SEED = re.compile(_OPTION.pattern + "(?=_|$)")


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


def takes_seeds(trainer: str) -> bool:
    """Whether a trainer's name has a seed or can have one, as all names of this package."""
    if _SEED.search(trainer):
        return True
    try:
        return parse_trainer_name(trainer) is not None
    except ValueError:
        return False


def _run(name: ModelName) -> Run:
    found = _SEED.search(name.trainer)
    if not found:
        return Run(name, UNSEEDED)
    trainer = name.trainer[: found.start()] + name.trainer[found.end() :]
    return Run(name._replace(trainer=trainer), found[1])

"""Trainer names: a network, its twin and options, see :data:`GRAMMAR`. Free of imports that take time."""

import difflib
from dataclasses import dataclass, field
from typing import Any

from nnunet_reca.plans.networks import NETWORKS
from nnunet_reca.trainers.options import alternatives, grammar, read_options

PREFIX = "nnUNetTrainer"
RECURRENT = "Reca"
GRAMMAR = f"{PREFIX}<{'|'.join(NETWORKS)}>[{RECURRENT}]{grammar()}"


@dataclass(frozen=True)
class TrainerName:
    """A parsed trainer name.

    Attributes:
        network: key of :data:`nnunet_reca.plans.networks.NETWORKS`.
        recurrent: Recurrent-Attention, or its self-attention twin.
        options: what :data:`nnunet_reca.trainers.options.OPTIONS` set, and to which value; defaults are left out.
    """

    network: str
    recurrent: bool
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def base(self) -> str:
        """The name without options, such as ``nnUNetTrainerSwinUNETRReca``."""
        return f"{PREFIX}{self.network}{RECURRENT if self.recurrent else ''}"


def base_names() -> list[str]:
    """All trainer names without options."""
    return [TrainerName(network, recurrent).base for network in NETWORKS for recurrent in (False, True)]


def longest_names() -> list[str]:
    """A name of each network with as many options as it takes, each option in one of them where it is allowed."""
    names = []
    for network, kind in NETWORKS.items():
        rows = [[option for option in group if option.allowed(kind, True)] for group in alternatives()]
        for i in range(max(map(len, rows))):
            options = "".join(group[min(i, len(group) - 1)].example() for group in rows if group)
            names.append(TrainerName(network, True).base + options)
    return names


def check_spelling(name: str) -> None:
    """Raise for names of trainers that nobody has, where they resemble one of ours.

    Raises:
        ValueError: the grammar, or the name that may be meant.
    """
    if parse_trainer_name(name) is None:
        stem, *options = name.removeprefix(PREFIX).split("_")
        ours = [base.removeprefix(PREFIX) for base in base_names()]
        for close in difflib.get_close_matches(stem, ours, n=1, cutoff=0.85):
            meant = "_".join([PREFIX + close, *options])
            raise ValueError(f"expected a trainer name of the form {GRAMMAR}, got {name!r}; did you mean {meant}?")


def parse_trainer_name(name: str) -> TrainerName | None:
    """Parse a trainer name; None for names that are not of this package.

    Raises:
        ValueError: for one of our names with options that the grammar does not know, or that the network lacks.
    """
    base = name.split("_")[0]
    right = next((b for b in base_names() if b.lower() == base.lower()), None)
    if right is None:
        return None
    if base != right:
        meant = name.replace(base, right, 1)
        raise ValueError(f"expected a trainer name of the form {GRAMMAR}, got {name!r}; did you mean {meant}?")
    options = read_options(name.removeprefix(base))
    if options is None:
        raise ValueError(
            f"expected a trainer name of the form {GRAMMAR}, got {name!r}; for example {base}_tiny_lr3en4_50epochs"
        )
    recurrent = base.endswith(RECURRENT)
    network = base.removeprefix(PREFIX).removesuffix(RECURRENT)
    for option in options:
        if not option.allowed(NETWORKS[network], recurrent):
            takers = ", ".join(sorted(key for key, kind in NETWORKS.items() if option.allowed(kind, True)))
            raise ValueError(
                f"expected _{option.suffix} only with {option.only_with} ({takers}), got {name!r}; leave it out"
            )
    return TrainerName(network, recurrent, {option.sets: value for option, value in options.items()})

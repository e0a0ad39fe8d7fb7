"""What to plan for, and what came of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Plans = dict[str, Any]
CASCADE, STAGES = "3d_cascade_fullres", ("3d_fullres", "3d_lowres")
GB = 10**9


@dataclass(frozen=True)
class Wishes:
    """What to plan for.

    Attributes:
        memory: bytes of a training step, from plans and a configuration's name.
        target: bytes that a step of a configuration may take.
        suits: raises ValueError where the network does not take the configuration of plans.
        configurations: to plan; None is all that nnU-Net plans and the network takes.
        say: told of each estimate.
    """

    memory: Callable[[Plans, str], int]
    target: Callable[[str], int]
    suits: Callable[[Plans, str], object] = lambda plans, configuration: None
    configurations: tuple[str, ...] | None = None
    say: Callable[[str], None] = lambda line: None

    def includes(self, configuration: str) -> bool:
        """Whether a configuration is planned by memory; one of the cascade's needs the others."""
        wished = self.configurations
        three = configuration in STAGES and wished is not None and {CASCADE, *STAGES} & set(wished)
        return wished is None or configuration in wished or bool(three)

    def needs(self, configuration: str) -> bool:
        """Whether a configuration was asked for, or is a stage of the cascade that was."""
        wished = self.configurations or ()
        return configuration in wished or (CASCADE in wished and configuration in STAGES)


@dataclass(frozen=True)
class Planned:
    """A configuration as it was planned.

    Attributes:
        memory: bytes of its training step, estimated.
        target: bytes.
        largest_patch: the patch is as large as nnU-Net makes it for these images.
        largest_batch: the batch is as large as nnU-Net makes it for this data set.
    """

    memory: int
    target: int
    largest_patch: bool
    largest_batch: bool


@dataclass
class Outcome:
    """Plans, what they take, and what was left out.

    Attributes:
        plans: as a plans file has them; ``data_identifier`` is the configuration's name.
        planned: by configuration.
        left_out: configurations that the network does not take, and why.
    """

    plans: Plans
    planned: dict[str, Planned]
    left_out: dict[str, str]


def by(sides: Sequence[int]) -> str:
    """Sides of a patch in text."""
    return " × ".join(map(str, sides))


def in_gb(memory: int) -> str:
    """Bytes in text."""
    return f"{memory / GB:.2f} GB"

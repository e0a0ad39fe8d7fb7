"""nnU-Net trainers, resolved by name on first use: ``nnUNetTrainerSwinUNETRReca_tiny_50epochs`` and so on."""

import importlib
from typing import TYPE_CHECKING

from nnunet_reca.trainers.names import GRAMMAR, base_names, check_spelling, parse_trainer_name

if TYPE_CHECKING:
    from nnunet_reca.trainers.base import RecaTrainer

__all__ = ["GRAMMAR", "check_spelling"]


def __getattr__(name: str) -> "type[RecaTrainer]":
    parsed = parse_trainer_name(name)
    if parsed is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    trainer = getattr(importlib.import_module(f"{__name__}.{parsed.module}"), parsed.base)
    if name != parsed.base:
        options = {
            "reca_size": parsed.size,
            "reca_alignment": parsed.alignment,
            "reca_precision": parsed.precision,
            "reca_checkpoint": parsed.checkpoint,
            "reca_epochs": parsed.epochs,
        }
        trainer = type(name, (trainer,), {**options, "__module__": __name__, "__doc__": trainer.__doc__})
    globals()[name] = trainer  # the same class object at every look-up
    return trainer


def __dir__() -> list[str]:
    return sorted({*globals(), *base_names()})

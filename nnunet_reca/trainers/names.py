"""Trainer names: ``nnUNetTrainer<Network>[Reca][_tiny][_<N>epochs]``, any N. Free of imports that take time."""

import re
from dataclasses import dataclass

PREFIX = "nnUNetTrainer"
#: network -> module of its trainers
NETWORKS = {"SwinUNETR": "swin_unetr"}
GRAMMAR = f"{PREFIX}<{'|'.join(NETWORKS)}>[Reca][_tiny][_<N>epochs]"


@dataclass(frozen=True)
class TrainerName:
    """A parsed trainer name.

    Attributes:
        base: name of the class without options, such as ``nnUNetTrainerSwinUNETRReca``.
        module: module of the base class, below ``nnunet_reca.trainers``.
        size: "base" or "tiny".
        epochs: length of the training, None for nnU-Net's default.
    """

    base: str
    module: str
    size: str
    epochs: int | None


def base_names() -> list[str]:
    """All trainer names without options."""
    return [f"{PREFIX}{network}{twin}" for network in NETWORKS for twin in ("", "Reca")]


def parse_trainer_name(name: str) -> TrainerName | None:
    """Parse a trainer name; None for names that are not of this package.

    Raises:
        ValueError: for one of our names with options that the grammar does not know.
    """
    base, *options = name.split("_")
    if not name.startswith(PREFIX) or base.lower() not in {b.lower() for b in base_names()}:
        return None
    if base not in base_names():
        right = next(b for b in base_names() if b.lower() == base.lower())
        raise ValueError(f"expected a trainer name of the form {GRAMMAR}, got {name!r}; did you mean {right}?")
    module = NETWORKS[base.removeprefix(PREFIX).removesuffix("Reca")]
    match = re.fullmatch(r"(?:_(?P<size>tiny))?(?:_(?P<epochs>[1-9]\d*)epochs)?", name.removeprefix(base))
    if match is None:
        raise ValueError(
            f"expected a trainer name of the form {GRAMMAR}, got {name!r} with options {options}; "
            f"for example {base}_tiny_50epochs"
        )
    epochs = match["epochs"]
    return TrainerName(base, module, match["size"] or "base", int(epochs) if epochs else None)

"""Trainer names: a network, its twin and options, see :data:`GRAMMAR`. Free of imports that take time."""

import difflib
import re
from dataclasses import dataclass

PREFIX = "nnUNetTrainer"
#: network -> module of its trainers
NETWORKS = {
    "SwinUNETR": "swin_unetr",
    "NnFormer": "nnformer",
    "SwinUnet": "swin_unet",
    "DATransUnet": "da_transunet",
}
#: networks whose carry passes from window to window, which ``_spatial`` aligns
WINDOWED = {"SwinUNETR", "NnFormer", "SwinUnet"}
GRAMMAR = f"{PREFIX}<{'|'.join(NETWORKS)}>[Reca][_tiny][_spatial][_bf16|_fp32][_checkpoint][_<N>epochs]"

_OPTIONS = re.compile(
    r"(?:_(?P<size>tiny))?"
    r"(?:_(?P<alignment>spatial))?"
    r"(?:_(?P<precision>bf16|fp32))?"
    r"(?P<checkpoint>_checkpoint)?"
    r"(?:_(?P<epochs>[1-9]\d*)epochs)?"
)


@dataclass(frozen=True)
class TrainerName:
    """A parsed trainer name.

    Attributes:
        base: name of the class without options, such as ``nnUNetTrainerSwinUNETRReca``.
        module: module of the base class, below ``nnunet_reca.trainers``.
        size: "base" or "tiny".
        alignment: of the carry, "window" or "spatial".
        precision: "bf16", "fp32", or None for nnU-Net's own.
        checkpoint: compute activations again in the backward pass, which saves memory.
        epochs: length of the training, None for nnU-Net's default.
    """

    base: str
    module: str
    size: str = "base"
    alignment: str = "window"
    precision: str | None = None
    checkpoint: bool = False
    epochs: int | None = None


def base_names() -> list[str]:
    """All trainer names without options."""
    return [f"{PREFIX}{network}{twin}" for network in NETWORKS for twin in ("", "Reca")]


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
        ValueError: for one of our names with options that the grammar does not know.
    """
    base = name.split("_")[0]
    right = next((b for b in base_names() if b.lower() == base.lower()), None)
    if right is None:
        return None
    if base != right:
        meant = name.replace(base, right, 1)
        raise ValueError(f"expected a trainer name of the form {GRAMMAR}, got {name!r}; did you mean {meant}?")
    options = _OPTIONS.fullmatch(name.removeprefix(base))
    if options is None:
        raise ValueError(
            f"expected a trainer name of the form {GRAMMAR}, got {name!r}; for example {base}_tiny_50epochs"
        )
    network = base.removeprefix(PREFIX).removesuffix("Reca")
    if options["alignment"] and not (base.endswith("Reca") and network in WINDOWED):
        raise ValueError(
            f"expected _spatial only with Recurrent-Attention in windows ({', '.join(sorted(WINDOWED))}), "
            f"got {name!r}; leave it out"
        )
    return TrainerName(
        base,
        NETWORKS[network],
        size=options["size"] or "base",
        alignment=options["alignment"] or "window",
        precision=options["precision"],
        checkpoint=bool(options["checkpoint"]),
        epochs=int(options["epochs"]) if options["epochs"] else None,
    )

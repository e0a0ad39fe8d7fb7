"""Trainer names: ``nnUNetTrainer<Network>[Reca][_tiny][_spatial][_checkpoint][_<N>epochs]``.

Free of imports that take time.
"""

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
GRAMMAR = f"{PREFIX}<{'|'.join(NETWORKS)}>[Reca][_tiny][_spatial][_checkpoint][_<N>epochs]"


@dataclass(frozen=True)
class TrainerName:
    """A parsed trainer name.

    Attributes:
        base: name of the class without options, such as ``nnUNetTrainerSwinUNETRReca``.
        module: module of the base class, below ``nnunet_reca.trainers``.
        size: "base" or "tiny".
        alignment: of the carry, "window" or "spatial".
        checkpoint: compute activations again in the backward pass, which saves memory.
        epochs: length of the training, None for nnU-Net's default.
    """

    base: str
    module: str
    size: str = "base"
    alignment: str = "window"
    checkpoint: bool = False
    epochs: int | None = None


def base_names() -> list[str]:
    """All trainer names without options."""
    return [f"{PREFIX}{network}{twin}" for network in NETWORKS for twin in ("", "Reca")]


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
        raise ValueError(f"expected a trainer name of the form {GRAMMAR}, got {name!r}; did you mean {right}?")
    pattern = (
        r"(?:_(?P<size>tiny))?(?:_(?P<alignment>spatial))?(?P<checkpoint>_checkpoint)?(?:_(?P<epochs>[1-9]\d*)epochs)?"
    )
    options = re.fullmatch(pattern, name.removeprefix(base))
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
    epochs = int(options["epochs"]) if options["epochs"] else None
    size, alignment = options["size"] or "base", options["alignment"] or "window"
    return TrainerName(base, NETWORKS[network], size, alignment, bool(options["checkpoint"]), epochs)

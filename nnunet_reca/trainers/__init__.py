"""nnU-Net trainers, resolved by name on first use: ``nnUNetTrainerSwinUNETRReca_tiny_50epochs`` and so on.

Each network of :data:`nnunet_reca.plans.networks.NETWORKS` has a trainer with self-attention and, derived from it, its
Recurrent-Attention twin; a name with options is a class derived from the one without.
"""

from typing import TYPE_CHECKING, Any

from nnunet_reca.trainers.names import GRAMMAR, TrainerName, base_names, check_spelling, parse_trainer_name

if TYPE_CHECKING:
    from nnunet_reca.trainers.base import RecaTrainer

__all__ = ["GRAMMAR", "check_spelling"]


def __getattr__(name: str) -> "type[RecaTrainer]":
    parsed = parse_trainer_name(name)
    if parsed is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    parent, sets = _parent_and_attributes(parsed)
    about = {"__module__": __name__, "__qualname__": name, "__doc__": _docstring(parsed)}
    trainer = type(name, (parent,), {**about, **sets})
    return globals().setdefault(name, trainer)  # the same class object at every look-up


def __dir__() -> list[str]:
    return sorted({*globals(), *base_names()})


def _parent_and_attributes(parsed: TrainerName) -> "tuple[type[RecaTrainer], dict[str, Any]]":
    """What a trainer is derived from, and the class attributes in which it differs from that."""
    if parsed.options:
        return _trainer(parsed.base), {"reca_options": parsed.options}
    if parsed.recurrent:
        return _trainer(TrainerName(parsed.network, False).base), {"reca_recurrent": True}
    from nnunet_reca.trainers.base import RecaTrainer

    return RecaTrainer, {"reca_network": parsed.network, "reca_recurrent": False}


def _trainer(name: str) -> "type[RecaTrainer]":
    return globals().get(name) or __getattr__(name)


def _docstring(parsed: TrainerName) -> str:
    from nnunet_reca.plans.networks import NETWORKS

    network = NETWORKS[parsed.network]
    title, _, where = network.title.partition(", ")
    attention = f"Recurrent-Attention ({where})" if parsed.recurrent else "self-attention, for a fair comparison"
    dimensions = " and ".join(f"{number}D" for number in network.dimensions)
    options = ", ".join(f"{sets} {value}" for sets, value in parsed.options.items())
    return f"{title} with {attention}; {dimensions}.{f' Options: {options}.' if options else ''}"

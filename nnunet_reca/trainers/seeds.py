"""Seeds in trainer names: ``_seed<N>`` makes runs of one training, each with a results folder of its own.

All trainers of this package take the option; names of other trainers may have it, too.
"""

import re

from nnunet_reca.trainers.names import parse_trainer_name
from nnunet_reca.trainers.options import OPTIONS

_OPTION = next(option for option in OPTIONS if option.sets == "seed")
_SEED = re.compile(_OPTION.pattern + "(?=_|$)")
#: what follows a seed in the grammar
_BEHIND = re.compile("".join(f"(?:{option.pattern})?" for option in OPTIONS[OPTIONS.index(_OPTION) + 1 :]) + "$")


def split_seed(trainer: str) -> tuple[str, str | None]:
    """The name without its seed, and the seed, None without one."""
    found = _SEED.search(trainer)
    return (trainer[: found.start()] + trainer[found.end() :], found[1]) if found else (trainer, None)


def with_seed(trainer: str, seed: int) -> str:
    """A trainer's name without a seed, with one, where the grammar wants it."""
    place = next(_BEHIND.finditer(trainer)).start()
    return f"{trainer[:place]}_seed{seed}{trainer[place:]}"


def takes_seed(trainer: str) -> bool:
    """Whether a trainer is of this package, whose names take the option."""
    try:
        return parse_trainer_name(trainer) is not None
    except ValueError:  # somebody's own whose name begins like ours
        return False

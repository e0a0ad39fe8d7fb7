"""Options of trainer names, a row each, in the order in which they stand in a name.

The grammar, its errors, the documentation's table and what a trainer does follow from :data:`OPTIONS`. A new option is
a new row; where what it sets is new, too, its reader is :func:`nnunet_reca.plans.rewrite_plan` or the trainer.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any, Literal

from nnunet_reca.plans.network import Network
from nnunet_reca.plans.networks import NETWORKS


@dataclass(frozen=True)
class Number:
    """A number in an option's suffix.

    Attributes:
        mark: what stands for it where the suffix is explained.
        pattern: regular expression of it, in one spelling only, so that each training has one name.
        read: its value.
        example: one in a name.
    """

    mark: str
    pattern: str
    read: Callable[[str], int | float]
    example: str


NUMBER = Number("<N>", "[1-9][0-9]*", int, "1")
NUMBER_OR_ZERO = Number("<N>", "0|[1-9][0-9]*", int, "0")
#: as nnU-Net's own trainers write it, 3en4 for 3e-4
RATE = Number("<R>", "[1-9](?:[0-9]*[1-9])?en[1-9][0-9]?", lambda text: float(text.replace("en", "e-")), "1en3")


@dataclass(frozen=True)
class Option:
    """One option of trainer names.

    Attributes:
        suffix: what stands in the name behind an underscore.
        meaning: what it does, a part of a sentence.
        sets: what it sets; neighbours in the table that set the same are alternatives.
        reader: where that goes: into the network's arguments in the plan, or to the trainer.
        value: of what it sets, where no number in the suffix says it.
        number: in the suffix.
        in_step: whether a training step computes or takes something else with it.
        only_with: networks and twins it is for, in words; empty for all of them.
        allowed: the same, asked with a network and whether it is the Recurrent-Attention twin.
    """

    suffix: str
    meaning: str
    sets: str
    reader: Literal["plan", "trainer"]
    value: Any = None
    number: Number | None = None
    in_step: bool = True
    only_with: str = ""
    allowed: Callable[[Network, bool], bool] = lambda network, recurrent: True

    @property
    def pattern(self) -> str:
        """Regular expression of the suffix."""
        suffix = re.escape(self.suffix)
        return "_" + (suffix.replace(self.number.mark, f"({self.number.pattern})") if self.number else suffix)

    def written(self, number: object) -> str:
        """The option in a name, with this number where it takes one."""
        return "_" + (self.suffix.replace(self.number.mark, str(number)) if self.number else self.suffix)

    def example(self) -> str:
        """The option in a name."""
        return self.written(self.number.example if self.number else None)


def _carry(kind: str, meaning: str) -> Option:
    """Option of a kind of carry, see :mod:`nnunet_reca.blocks.carry`."""
    return Option(
        kind,
        meaning,
        "carry",
        "plan",
        kind,
        only_with="Recurrent-Attention",
        allowed=lambda network, recurrent: recurrent,
    )


#: every option, in the order of a name
OPTIONS: tuple[Option, ...] = (
    Option(
        "tiny",
        "a small size with 50-step epochs, for CPUs and quick looks",
        "size",
        "plan",
        "tiny",
        only_with="networks that have this size",
        allowed=lambda network, recurrent: "tiny" in network.sizes,
    ),
    _carry("mean", "the mean of all queries so far instead of their sum: the logits keep their scale"),
    _carry("gated", "the carry times a learned factor per head and layer, 0 at the start: begins as self-attention"),
    _carry("normed", "the sum scaled to the length of the layer's own query: its direction only"),
    _carry("detached", "no gradient through the carry"),
    _carry("previous", "the query of the layer before alone, not of all before"),
    Option(
        "spatial",
        "Q̂ moves with the shifted windows and stays with its voxel, instead of passing by window index as published",
        "alignment",
        "plan",
        "_spatial",
        only_with="Recurrent-Attention in windows",
        allowed=lambda network, recurrent: recurrent and network.windowed,
    ),
    Option(
        "bf16",
        "bfloat16 mixed precision in training and prediction on any device; without it nnU-Net's own: float16 mixed "
        "precision on CUDA, float32 elsewhere",
        "precision",
        "trainer",
        "bf16",
    ),
    Option("fp32", "float32 in training and prediction on any device", "precision", "trainer", "fp32"),
    Option(
        "checkpoint",
        "activations are computed again in the backward pass: less memory for more time, the same gradients",
        "use_checkpoint",
        "plan",
        True,
    ),
    Option(
        "lr<R>",
        "peak learning rate instead of the recipe's, written as nnU-Net writes it: `_lr3en4` is 3e-4",
        "learning_rate",
        "trainer",
        number=RATE,
        in_step=False,
    ),
    Option(
        "seed<N>",
        "the training is seeded with N, initial weights and every epoch; its results lie beside those of other seeds",
        "seed",
        "trainer",
        number=NUMBER_OR_ZERO,
        in_step=False,
    ),
    Option(
        "<N>epochs",
        "any N instead of nnU-Net's 1000; warm-up and decay follow",
        "epochs",
        "trainer",
        number=NUMBER,
        in_step=False,
    ),
)


def alternatives() -> list[list[Option]]:
    """The table's rows, those that set the same together."""
    return [list(rows) for _, rows in groupby(OPTIONS, key=lambda option: option.sets)]


def grammar() -> str:
    """All options of a name, such as ``[_tiny][_bf16|_fp32]``."""
    return "".join(f"[{'|'.join('_' + option.suffix for option in rows)}]" for rows in alternatives())


def read_options(text: str) -> dict[Option, Any] | None:
    """Options of a name and the values they set; None where the text is no sequence of options in their order.

    Args:
        text: what follows network and twin in a name, such as ``_tiny_5epochs``.
    """
    found = _expression().fullmatch(text)
    if found is None:
        return None
    given = [(option, found[f"option{i}"]) for i, option in enumerate(OPTIONS)]
    return {option: _value(option, part) for option, part in given if part is not None}


def step_options(options: Mapping[str, Any]) -> str:
    """The options that a training step shows, as they stand in a name.

    Args:
        options: what is set, and to which value.
    """
    given = [(option, options[option.sets]) for option in OPTIONS if option.in_step and option.sets in options]
    return "".join(option.written(value) for option, value in given if option.number or option.value == value)


def rewrite_arguments(options: Mapping[str, Any], *, recurrent: bool) -> dict[str, Any]:
    """Arguments of :func:`nnunet_reca.plans.rewrite_plan` beside plan, configuration and network.

    Args:
        options: what is set, and to which value; without what is left at its default.
        recurrent: Recurrent-Attention, or its self-attention twin.
    """
    given = {
        option.sets: options[option.sets] for option in OPTIONS if option.reader == "plan" and option.sets in options
    }
    carry = given.pop("carry", "sum") + given.pop("alignment", "")
    return {"size": "base", **given, "carry": carry if recurrent else "none"}


def table() -> str:
    """The documentation's table of what a trainer's name says, in Markdown."""
    rows = [("`Reca`", "Recurrent-Attention; without it the same network with self-attention, for a fair comparison")]
    rows += [(f"`_{option.suffix}`", option.meaning + _exception(option)) for option in OPTIONS]
    return "\n".join(f"| {part} | {meaning} |" for part, meaning in [("part", "meaning"), ("---", "---"), *rows])


def _exception(option: Option) -> str:
    """Whom an option is for, unless that is everybody."""
    everybody = all(option.allowed(network, twin) for network in NETWORKS.values() for twin in (False, True))
    return "" if everybody else f" (only with {option.only_with})"


@lru_cache(maxsize=1)
def _expression() -> re.Pattern[str]:
    def parts() -> Iterator[str]:
        for rows in alternatives():
            yield f"(?:{'|'.join(f'(?P<option{OPTIONS.index(row)}>{row.pattern})' for row in rows)})?"

    return re.compile("".join(parts()))


def _value(option: Option, part: str) -> Any:
    """What an option sets, as it stands in a name."""
    if option.number is None:
        return option.value
    found = re.fullmatch(option.pattern, part)
    return option.number.read(found[1]) if found else None

"""What a published layout of weights is, and how its sub-tree of names is found in a checkpoint."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from nnunet_reca.weights.rename import Rule, matching, some_of

#: parts of names that parallel training, sharding and compilation put anywhere in a network
_WRAPPERS = r"module|_orig_mod|_forward_module|_fsdp_wrapped_module|_checkpoint_wrapped_module|_ddp_module"
_WRAPPER = re.compile(rf"(?:^|(?<=[./]))(?:{_WRAPPERS})[./]")
#: averaged copies of the weights, which are the ones meant for use
_AVERAGED = re.compile(r"(?:.*_)?(?:ema|teacher|swa|avg|averaged?)(?:_.*)?", re.IGNORECASE)
_TOP = "."


@dataclass(frozen=True)
class Layout:
    """A published layout of weights.

    Attributes:
        name: for the report.
        network: class of the network it fits.
        signs: regular expressions; where each matches a name, counted from the same sub-tree, the layout is found.
        rules: rename table for the given tensors and target network.
        absent: regular expression for parameters that the source does not have.
        complete: changes the renamed tensors as a whole, given the target network.
        note: what a user should know, for the report.
        unsupported: variants with the same signs that have no counterpart here: regular expression for names that only
            they have, and what they are.
    """

    name: str
    network: type[nn.Module]
    signs: tuple[str, ...]
    rules: Callable[[Mapping[str, Tensor], nn.Module], list[Rule]]
    absent: str = r"$^"
    complete: Callable[[dict[str, Tensor], nn.Module], dict[str, Tensor]] = lambda renamed, network: renamed
    note: str = ""
    unsupported: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """A sub-tree of names that is a known layout.

    Attributes:
        layout: of its names.
        tensors: names from the sub-tree's root on -> tensors.
        name: of the sub-tree, such as ``state_dict.net``; ``.`` is the top level.
        others: names of further sub-trees of the same network, which were not taken.
        aside: sub-trees around it -> their number of tensors.
    """

    layout: Layout
    tensors: dict[str, Tensor]
    name: str
    others: Sequence[str]
    aside: Mapping[str, int]


@dataclass(frozen=True)
class _Place:
    """A layout and the prefix of the names that have it."""

    layout: Layout
    prefix: str

    @property
    def name(self) -> str:
        return _plain(self.prefix).replace("/", ".").rstrip(".") or _TOP

    @property
    def averaged(self) -> bool:
        return any(_AVERAGED.fullmatch(part) for part in self.name.split("."))

    def is_within(self, other: "_Place") -> bool:
        """Whether it is a piece of another layout; a second copy of the same layout is none."""
        return self.prefix.startswith(other.prefix) and self.layout is not other.layout

    def is_named(self, name: str) -> bool:
        return name == self.name or f".{name}." in f".{self.name}."


def find_part(
    source: Mapping[str, Tensor], network: nn.Module, layouts: Collection[Layout], part: str | None = None
) -> Part:
    """The one sub-tree of names that is a known layout, whatever stands around it.

    Where several fit, the whole network goes before an encoder alone, an averaged copy (EMA, teacher) before the
    weights that it averages, and the first in the file before the others.

    Args:
        source: names, as :func:`nnunet_reca.weights.checkpoint.named_tensors` gives them, -> tensors.
        network: to be filled.
        layouts: known layouts, the more specific first.
        part: name of the sub-tree to take, or of a part of its path.

    Raises:
        ValueError: if there is no such sub-tree, or only one of another network.
    """
    everywhere = [place for layout in layouts for place in _places(source, layout)]
    places = _outermost([place for place in everywhere if part is None or place.is_named(part)])
    kind = type(network).__name__
    kind = type(network).__name__
    fitting = [place for place in places if isinstance(network, place.layout.network)]
    if fitting:
        exact = [place for place in fitting if place.name == part]
        order = list(layouts)
        taken = min(exact or fitting, key=lambda place: (order.index(place.layout), not place.averaged))
        return _part(source, network, taken, [place for place in fitting if place is not taken])
    names = [place.name for place in _outermost(everywhere) if isinstance(network, place.layout.network)]
    if names:
        raise ValueError(f"expected the name of a part with weights of {kind}, {some_of(names)}, got {part!r}")
    if places:
        first = places[0].layout
        raise ValueError(
            f"expected weights for {kind}, got {first.name}, which fits {first.network.__name__}; change the trainer"
        )
    known = ", ".join(layout.name for layout in layouts if isinstance(network, layout.network))
    raise ValueError(f"expected weights in one of the layouts {known}, got names such as {sorted(source)[:5]}")


def _outermost(places: Sequence[_Place]) -> list[_Place]:
    return [place for i, place in enumerate(places) if not any(place.is_within(other) for other in places[:i])]


def _places(names: Collection[str], layout: Layout) -> list[_Place]:
    """Where all signs of a layout are found, in the order of the file."""
    found: list[dict[str, None]] = []
    plain = {name: _plain(name) for name in names}
    for sign in layout.signs:
        pattern = re.compile(rf"(?:.*[./])?({sign})")
        matches = ((name, pattern.fullmatch(short)) for name, short in plain.items())
        found.append({_before(name, match[1]): None for name, match in matches if match})
    return [_Place(layout, prefix) for prefix in found[0] if all(prefix in other for other in found)]


def _plain(name: str) -> str:
    """A name without what wrappers put into it, and containers like modules."""
    return _WRAPPER.sub("", name.replace(":", "."))


def _before(name: str, rest: str) -> str:
    """What stands in a name before its end, wrappers around the end included."""
    ends = [match.end() for match in re.finditer("[.:/]", name)]
    return name[: max(end for end in [0, *ends] if _plain(name[end:]) == rest)]


def _part(source: Mapping[str, Tensor], network: nn.Module, place: _Place, others: Sequence[_Place]) -> Part:
    copies = [o.prefix for o in others if o.prefix.startswith(place.prefix) and o.prefix != place.prefix]
    inside = {
        name: _plain(name[len(place.prefix) :])
        for name in source
        if name.startswith(place.prefix) and not name.startswith(tuple(copies))
    }
    rules = place.layout.rules({short: source[name] for name, short in inside.items()}, network)
    # beside the tensors of a state dict lie containers of something else, such as an optimizer
    boxes = {name: name[len(place.prefix) :].rpartition(":")[0].partition(":")[0] for name in inside}
    known = {"", *(boxes[name] for name, short in inside.items() if _is_known(short, rules))}
    tensors = {short: source[name] for name, short in inside.items() if boxes[name] in known}
    around = [name for name in source if boxes.get(name) not in known]
    aside = Counter(_branch(name, place.prefix) for name in around)
    return Part(place.layout, tensors, place.name, [other.name for other in others], aside)


def _is_known(name: str, rules: Sequence[Rule]) -> bool:
    rule, _ = matching(name, rules)
    return rule is not None and rule.target is not None


def _branch(name: str, prefix: str) -> str:
    """The name up to where it leaves the prefix."""
    path, taken = re.split("[.:/]", name), re.split("[.:/]", prefix)
    shared = next((i for i, pair in enumerate(zip(path, taken, strict=False)) if pair[0] != pair[1]), len(taken) - 1)
    return ".".join(path[: shared + 1])

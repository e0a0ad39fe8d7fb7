"""Turn a published checkpoint into weights of a network that was built from a plan, with a report of what matched."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from nnunet_reca.weights.adapt import adapt, geometry
from nnunet_reca.weights.rename import Rule, fillable, rename, some_of

#: their shape depends on the classes, and nnU-Net trains them anew with -pretrained_weights
_HEADS = r"decoder\.seg_layers\..*"


@dataclass(frozen=True)
class Layout:
    """A published layout of weights.

    Attributes:
        name: for the report.
        network: name of the network class it fits.
        matches: tells the layout by its names.
        rules: rename table for the given tensors and target network.
        absent: regular expression for parameters that the source does not have.
        depth_dependent: regular expression for parameters whose width depends on the network's depth; a network of
            another depth than the source's does without them.
        deeper: the network is deeper than the source's.
        complete: changes the renamed tensors as a whole, given the target network.
        note: what a user should know, for the report.
    """

    name: str
    network: str
    matches: Callable[[Collection[str]], bool]
    rules: Callable[[Mapping[str, Tensor], nn.Module], list[Rule]]
    absent: str = r"$^"
    depth_dependent: str = r"$^"
    deeper: bool = False
    complete: Callable[[dict[str, Tensor], nn.Module], dict[str, Tensor]] = lambda renamed, network: renamed
    note: str = ""


@dataclass
class Report:
    """What became of every tensor: names, and reasons where something else than loading happened."""

    layout: str
    note: str = ""
    loaded: list[str] = field(default_factory=list)
    adapted: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    fresh: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"layout: {self.layout}", *([f"note: {self.note}"] if self.note else [])]
        lines.append(f"loaded: {len(self.loaded)} tensors")
        for title, entries in (("adapted", self.adapted), ("skipped", self.skipped)):
            lines.append(f"{title}: {len(entries)}")
            lines += [f"  {name}: {note}" for name, note in entries.items()]
        lines.append(f"left at their initialisation: {len(self.fresh)}")
        groups = sorted({".".join(name.split(".")[:3]) for name in self.fresh})
        return "\n".join([*lines, *(f"  {group}" for group in groups)])


def find_layout(names: Collection[str], network: nn.Module, layouts: Collection[Layout]) -> Layout:
    """The layout of these names for this network.

    Raises:
        ValueError: if it is unknown, or fits another network.
    """
    kind = type(network).__name__
    fitting = [layout for layout in layouts if layout.matches(names)]
    for layout in fitting:
        if layout.network == kind:
            return layout
    if fitting:
        raise ValueError(
            f"expected weights for {kind}, got {fitting[0].name}, which fits {fitting[0].network}; change the trainer"
        )
    known = ", ".join(layout.name for layout in layouts if layout.network == kind)
    raise ValueError(f"expected weights in one of the layouts {known}, got names such as {sorted(names)[:5]}")


def convert(
    source: Mapping[str, Tensor],
    network: nn.Module,
    layouts: Collection[Layout],
    trained: nn.Module | None = None,
) -> tuple[dict[str, Tensor], Report]:
    """Fill ``network`` from a published state dict.

    Args:
        source: published names -> tensors.
        network: built from the plan, at its initialisation; it is filled in place once everything has been checked.
        layouts: known layouts.
        trained: network that the tensors come from, if it is of this package; its geometry counts.

    Returns:
        The network's state dict and the report.

    Raises:
        ValueError: for an unknown layout or name, a shape that cannot be adapted, or parameters without a source.
    """
    layout = find_layout(source, network, layouts)
    renamed = layout.complete(rename(source, layout.rules(source, network)), network)
    targets = fillable(network)
    report, problems = Report(layout.name, layout.note), []
    values: dict[str, Tensor] = {}
    beyond = {name for name in renamed if name not in targets and beyond_depth(name, network)}
    optional = _HEADS + (f"|{layout.depth_dependent}" if beyond or layout.deeper else "")
    for name, tensor in renamed.items():
        if re.fullmatch(_HEADS, name):
            report.skipped[name] = "segmentation head, trained anew"
        elif name in beyond:
            report.skipped[name] = "the network of this plan has no such stage or block"
        elif name not in targets:
            raise ValueError(f"expected parameters of {type(network).__name__}, got {name}, which it does not have")
        elif tensor.shape == targets[name].shape and _same_geometry(name, network, trained):
            values[name] = tensor
            report.loaded.append(name)
        elif (adapted := adapt(name, tensor.float(), targets[name], network, trained)) is not None:
            values[name], report.adapted[name] = adapted
        elif re.fullmatch(optional, name):
            report.skipped[name] = "its width depends on the depth of the network"
        else:
            problems.append(f"{name}: expected {tuple(targets[name].shape)}, got {tuple(tensor.shape)}")
    report.fresh = [n for n in targets if n not in values]
    known = f"{layout.absent}|{optional}"
    problems += [f"{n}: missing in the file" for n in report.fresh if n not in renamed and not re.fullmatch(known, n)]
    if problems:
        raise ValueError(
            f"{layout.name} weights do not fit this network: {some_of(problems, limit=8, separator='; ')}; "
            + _fix(renamed, targets)
        )
    with torch.no_grad():
        for name, value in values.items():
            targets[name].copy_(value)
    return network.state_dict(), report


def _fix(renamed: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> str:
    for name, tensor in renamed.items():
        if name in targets and 2 < tensor.ndim != targets[name].ndim:
            return f"these are weights of a {tensor.ndim - 2}D network, choose a configuration of as many dimensions"
    return "choose the size of the network that the weights were made for"


def _same_geometry(name: str, network: nn.Module, trained: nn.Module | None) -> bool:
    """A window of 5 x 7 and one of 7 x 5 have bias tables of one shape that mean different offsets."""
    return trained is None or geometry(name, trained) in (None, geometry(name, network))


def beyond_depth(name: str, network: nn.Module) -> bool:
    """Whether the name fails at an index past the end of one of the network's module lists."""
    module: nn.Module = network
    for part in name.split("."):
        if isinstance(module, nn.ModuleList) and part.isdigit() and int(part) >= len(module):
            return True
        child = dict(module.named_children()).get(part)
        if child is None:
            return False
        module = child
    return False

"""Turn a published checkpoint into weights of a network that was built from a plan, with a report of what matched."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nnunet_reca.blocks.carry import Carry
from nnunet_reca.weights.adapt import adapt, geometry
from nnunet_reca.weights.checkpoint import named_tensors
from nnunet_reca.weights.layout import Layout, Part, find_part
from nnunet_reca.weights.rename import dropped, fillable, rename, some_of

#: their shape depends on the classes, and nnU-Net trains them anew with -pretrained_weights
_HEADS = r"decoder\.seg_layers\..*"


@dataclass
class Report:
    """What became of every tensor: names, and reasons where something else than loading happened.

    Attributes:
        layout: name of the source's layout.
        note: what a user should know of it.
        part: name of the sub-tree that was taken, ``.`` for the top level.
        others: names of the sub-trees that fit as well.
        aside: what stands around the sub-tree, with the number of tensors.
        loaded: names of what was taken as it is.
        adapted: what was fitted, and how.
        skipped: what was not taken, and why.
        fresh: parameters of the network that stay at their initialisation.
    """

    layout: str
    note: str = ""
    part: str = "."
    others: list[str] = field(default_factory=list)
    aside: dict[str, int] = field(default_factory=dict)
    loaded: list[str] = field(default_factory=list)
    adapted: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    fresh: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"layout: {self.layout}", *([f"note: {self.note}"] if self.note else [])]
        if self.others:
            lines.append(f"part: {self.part}; {', '.join(self.others)} would fit, too: choose with --part NAME")
        elif self.part != ".":
            lines.append(f"part: {self.part}")
        lines.append(f"loaded: {len(self.loaded)} tensors")
        for title, entries in (("adapted", self.adapted), ("skipped", self.skipped)):
            lines.append(f"{title}: {len(entries)}")
            lines += [f"  {name}: {note}" for name, note in entries.items()]
        lines.append(f"left at their initialisation: {len(self.fresh)}")
        groups = sorted({".".join(name.split(".")[:3]) for name in self.fresh})
        lines += [f"  {group}" for group in groups]
        if self.aside:
            lines.append(f"left aside, around this part: {sum(self.aside.values())} tensors")
            lines += [f"  {name}: {count}" for name, count in self.aside.items()]
        return "\n".join(lines)


def convert(
    source: Mapping[str, Any],
    network: nn.Module,
    layouts: Collection[Layout],
    trained: nn.Module | None = None,
    *,
    part: str | None = None,
) -> tuple[dict[str, Tensor], Report]:
    """Fill ``network`` from a published state dict.

    Args:
        source: published names -> tensors, with anything around them.
        network: built from the plan, at its initialisation; it is filled in place once everything has been checked.
        layouts: known layouts.
        trained: network that the tensors come from, if it is of this package; its geometry counts.
        part: name of the sub-tree to take, where several are weights for this network.

    Returns:
        The network's state dict and the report.

    Raises:
        ValueError: for an unknown layout or name, a shape that cannot be adapted, or parameters without a source.
    """
    found = find_part(named_tensors(source), network, layouts, part)
    values, report = _fitted(found, network, trained)
    targets = fillable(network)
    with torch.no_grad():
        for name, value in values.items():
            targets[name].copy_(value)
    return network.state_dict(), report


def _fitted(part: Part, network: nn.Module, trained: nn.Module | None) -> tuple[dict[str, Tensor], Report]:
    """Tensors for the network's parameters and buffers, checked, and the report."""
    layout, targets = part.layout, fillable(network)
    renamed, skipped = _renamed(part, network)
    report = Report(layout.name, layout.note, part.name, [*part.others], {**part.aside}, skipped=skipped)
    problems, values = [], {}
    beyond = {name for name in renamed if name not in targets and _beyond_depth(name, network)}
    deeper = {name for name in targets if trained is not None and _beyond_depth(name, trained)}
    depth = _below(network.depth_dependent) if beyond or deeper else r"$^"  # type: ignore[arg-type]
    for name, tensor in renamed.items():
        if re.fullmatch(_HEADS, name):
            report.skipped[name] = "segmentation head, trained anew"
        elif name in beyond:
            report.skipped[name] = "the network of this plan has no such stage or block"
        elif name not in targets and _in_carry(name, network):
            report.skipped[name] = "the carry of this network has no such parameter"
        elif name not in targets:
            raise ValueError(f"expected parameters of {type(network).__name__}, got {name}, which it does not have")
        elif tensor.shape == targets[name].shape and _same_geometry(name, network, trained):
            values[name] = tensor
            report.loaded.append(name)
        elif (adapted := adapt(name, tensor, targets[name], network, trained)) is not None:
            values[name], report.adapted[name] = adapted
        elif re.fullmatch(depth, name):
            report.skipped[name] = "its width depends on the depth of the network"
        else:
            problems.append(f"{name}: expected {tuple(targets[name].shape)}, got {tuple(tensor.shape)}")
    report.fresh = [n for n in targets if n not in values]
    known = f"{layout.absent}|{_HEADS}|{depth}"
    for name in report.fresh:
        if not (name in renamed or name in deeper or re.fullmatch(known, name) or _in_carry(name, network)):
            problems.append(f"{name}: missing in the file")
    if problems:
        raise ValueError(
            f"{layout.name} weights do not fit this network: {some_of(problems, limit=8, separator='; ')}; "
            + _fix(renamed, targets)
        )
    return values, report


def _renamed(part: Part, network: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The part's tensors under our names, and what has no counterpart here, with the reason."""
    for pattern, variant in part.layout.unsupported.items():
        names = [name for name in part.tensors if re.fullmatch(pattern, name)]
        if names:
            raise ValueError(
                f"expected weights of {part.layout.name}, got those of {variant}, which is not supported: "
                f"{some_of(names, limit=2)}; choose a checkpoint without it"
            )
    rules = part.layout.rules(part.tensors, network)
    return part.layout.complete(rename(part.tensors, rules), network), dropped(part.tensors, rules)


def _fix(renamed: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> str:
    for name, tensor in renamed.items():
        if name in targets and 2 < tensor.ndim != targets[name].ndim:
            return f"these are weights of a {tensor.ndim - 2}D network, choose a configuration of as many dimensions"
    return "choose the size of the network that the weights were made for"


def _same_geometry(name: str, network: nn.Module, trained: nn.Module | None) -> bool:
    """A window of 5 x 7 and one of 7 x 5 have bias tables of one shape that mean different offsets."""
    return trained is None or geometry(name, trained) in (None, geometry(name, network))


def _in_carry(name: str, network: nn.Module) -> bool:
    """Whether it is a parameter of a carry, of whatever kind: the one part in which twins may differ."""
    try:
        return isinstance(network.get_submodule(name.rpartition(".")[0]), Carry)
    except AttributeError:  # another depth
        return False


def _below(modules: Sequence[str]) -> str:
    """Regular expression for the parameters of modules; ``*`` in a module's name is any index."""
    return "|".join(re.escape(module).replace(r"\*", r"\d+") + r"\..*" for module in modules) or r"$^"


def _beyond_depth(name: str, network: nn.Module) -> bool:
    """Whether the name fails at an index past the end of one of the network's lists of modules or parameters."""
    module: nn.Module = network
    for part in name.split("."):
        if isinstance(module, nn.ModuleList | nn.ParameterList) and part.isdigit() and int(part) >= len(module):
            return True
        child = dict(module.named_children()).get(part)
        if child is None:
            return False
        module = child
    return False

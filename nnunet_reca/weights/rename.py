"""Rename tables: how the parameters of a published layout map to ours. What no rule knows is an error."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Rule:
    """One line of a rename table.

    Attributes:
        pattern: regular expression for the whole source name.
        target: our name, with the pattern's groups as ``{0}``, ``{1}``, ...; None drops the tensor.
        transform: applied to the tensor, None keeps it.
        part: (i, n): the tensor is the i-th of n that are stacked, along the first axis, into the target.
        reason: of a tensor that is dropped, where a user should know.
    """

    pattern: str
    target: str | None
    transform: Callable[[Tensor], Tensor] | None = None
    part: tuple[int, int] = (0, 1)
    reason: str = ""


def rename(source: Mapping[str, Tensor], rules: Sequence[Rule]) -> dict[str, Tensor]:
    """Translate a source state dict with the first rule that matches each name.

    Raises:
        ValueError: for names that no rule knows, two sources of one target, or an incomplete stack.
    """
    parts: dict[str, list[Tensor | None]] = {}
    unknown = []
    for name, tensor in source.items():
        rule, match = matching(name, rules)
        if rule is None or match is None:
            unknown.append(name)
        elif rule.target is not None:
            target = rule.target.format(*match.groups())
            i, n = rule.part
            slots = parts.setdefault(target, [None] * n)
            if slots[i] is not None:
                raise ValueError(f"expected one source for {target}, got a second one: {name}")
            slots[i] = rule.transform(tensor) if rule.transform else tensor
    if unknown:
        raise ValueError(f"expected only names of the rename table, got {len(unknown)} unknown: {some_of(unknown)}")
    incomplete = [target for target, slots in parts.items() if any(t is None for t in slots)]
    if incomplete:
        raise ValueError(f"expected every part of {some_of(incomplete)}, but the source lacks some")
    return {t: _stack([p for p in slots if p is not None]) for t, slots in parts.items()}


def matching(name: str, rules: Sequence[Rule]) -> tuple[Rule, re.Match[str]] | tuple[None, None]:
    """The first rule that matches a name, and its match."""
    return next(((r, m) for r in rules if (m := re.fullmatch(r.pattern, name))), (None, None))


def dropped(names: Iterable[str], rules: Sequence[Rule]) -> dict[str, str]:
    """Names that are dropped for a reason, and the reason."""
    found = {name: matching(name, rules)[0] for name in names}
    return {name: rule.reason for name, rule in found.items() if rule and rule.target is None and rule.reason}


def fillable(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and float buffers of the state dict; integer buffers count a norm's batches and change no output."""
    kept = network.state_dict()
    buffers = {n: b for n, b in network.named_buffers() if n in kept and b.is_floating_point()}
    return {**dict(network.named_parameters()), **buffers}


def load_renamed(network: nn.Module, renamed: Mapping[str, Tensor]) -> None:
    """Copy renamed tensors into the parameters and float buffers of ``network``; all are checked before any is written.

    Args:
        network: the network to fill.
        renamed: our names -> tensors, as :func:`rename` returns them.

    Raises:
        ValueError: for names the network lacks, parameters left without a tensor, or differing shapes.
    """
    targets = fillable(network)
    surplus = sorted(set(renamed) - set(targets))
    missing = sorted(set(targets) - set(renamed))
    shapes = [
        f"{n}: expected {tuple(targets[n].shape)}, got {tuple(t.shape)}"
        for n, t in renamed.items()
        if n in targets and targets[n].shape != t.shape
    ]
    problems = []
    if surplus:
        problems.append(f"the network has no {some_of(surplus)}")
    if missing:
        problems.append(f"the weights lack {some_of(missing)}")
    if shapes:
        problems.append(f"shapes differ ({some_of(shapes)})")
    if problems:
        raise ValueError(
            "expected weights of exactly this network, but "
            + "; ".join(problems)
            + ". Build the network with the arguments the weights were made with"
        )
    with torch.no_grad():
        for name, tensor in renamed.items():
            targets[name].copy_(tensor)


def reorder_sublattices(x: Tensor, order: Sequence[int]) -> Tensor:
    """Sort the merged sub-lattices along the last axis; ``order`` holds the row-major ranks of their offsets."""
    chunks = x.chunk(len(order), dim=-1)
    return torch.cat([chunks[order.index(i)] for i in range(len(order))], dim=-1)


def _stack(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def some_of(entries: Sequence[str], *, limit: int = 5, separator: str = ", ") -> str:
    """The first entries of a long list, for messages."""
    rest = f" and {len(entries) - limit} more" if len(entries) > limit else ""
    return separator.join(entries[:limit]) + rest

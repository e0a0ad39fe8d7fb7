"""What models have in common: the same data, labels and validation cases, or precisely what differs."""

from collections.abc import Sequence
from dataclasses import dataclass

from nnunet_reca.report.models import Key, Model
from nnunet_reca.results.labels import Region
from nnunet_reca.results.problems import Problems

#: cases that a message names before it only counts
NAMED = 8


@dataclass(frozen=True)
class Common:
    """What is compared.

    Attributes:
        keys: (fold, case) of every validation that all models have, sorted.
        regions: label or region by name.
        ignore: value of the ignore label, None without one.
        left_out: what was left out, a sentence each.
    """

    keys: tuple[Key, ...]
    regions: dict[str, Region]
    ignore: int | None
    left_out: tuple[str, ...] = ()


def agree(models: Sequence[Model], *, intersection: bool = False) -> Common:
    """Check that all models were validated on the same cases, in the same folds, with the same labels.

    Args:
        intersection: compare what all have in common instead, and say what was left out.

    Raises:
        Problems: naming all differences, or if nothing is common.
    """
    first = models[0]
    problems = [p for m in models[1:] for p in (*_labels_differ(first, m), *_cases_differ(first, m))]
    keys = set(first.validations).intersection(*(m.validations for m in models))
    regions = {n: r for n, r in first.labels.regions.items() if all(m.labels.regions.get(n) == r for m in models)}
    if any(m.labels.ignore != first.labels.ignore for m in models):
        raise Problems(problems)  # scores of differently masked voxels have nothing in common
    if problems and not intersection:
        raise Problems([*problems, "say --intersection to compare what all models have in common"])
    if not keys or not regions:
        raise Problems([*problems, "nothing is common to all models: no case, or no label"])
    return Common(tuple(sorted(keys, key=_order)), regions, first.labels.ignore, tuple(problems))


def _order(key: Key) -> tuple[int, str, str]:
    return (int(key[0]) if key[0].isdecimal() else -1, *key)


def _labels_differ(first: Model, other: Model) -> list[str]:
    found = []
    for name in dict.fromkeys([*first.labels.regions, *other.labels.regions]):
        mine, theirs = (m.labels.regions.get(name, "not there") for m in (first, other))
        if mine != theirs:
            found.append(f"label {name}: {mine} in {first.name}, {theirs} in {other.name}")
    if first.labels.ignore != other.labels.ignore:
        found.append(f"ignore label: {first.labels.ignore} in {first.name}, {other.labels.ignore} in {other.name}")
    return found


def _cases_differ(first: Model, other: Model) -> list[str]:
    found = []
    for fold in dict.fromkeys([*first.folds, *other.folds]):
        mine, theirs = ({case for f, case in m.validations if f == fold} for m in (first, other))
        for cases, having, lacking in ((mine - theirs, first, other), (theirs - mine, other, first)):
            if cases:
                found.append(f"fold {fold}: {_listed(cases)} validated with {having.name}, not with {lacking.name}")
    return found


def _listed(cases: set[str]) -> str:
    names = sorted(cases)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{len(names)} case{'s' * (len(names) > 1)} ({', '.join(names[:NAMED])}{more})"

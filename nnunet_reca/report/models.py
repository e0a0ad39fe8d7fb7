"""Finds the models to compare in nnU-Net's results, and what they have in common: the same labels and cases.

Every problem is named, not only the first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_reca.results.files import SEPARATOR, ModelName, read_json
from nnunet_reca.results.labels import Labels, Region, read_labels
from nnunet_reca.results.problems import Problems, first_line
from nnunet_reca.results.validation import Validation, read_validation, remarks

#: a fold and a case of its validation
Key = tuple[str, str]
#: cases that a message names before it only counts
NAMED = 8


@dataclass(frozen=True)
class Model:
    """A results folder of nnU-Net, with the folds that are compared.

    Attributes:
        name: trainer, plans and configuration.
        folder: of the model.
        folds: asked for.
        labels: that it tells apart.
        validations: of all folds.
        remarks: what is not there beside the validations.
    """

    name: ModelName
    folder: Path
    folds: tuple[str, ...]
    labels: Labels
    validations: Mapping[Key, Validation]
    remarks: tuple[str, ...] = ()

    @property
    def plans_file(self) -> Path:
        return self.folder / "plans.json"

    @property
    def dataset_file(self) -> Path:
        return self.folder / "dataset.json"


def asked_for(trainers: Sequence[str], configurations: Sequence[str], plans: Sequence[str]) -> list[ModelName]:
    """Every combination of trainer, plans and configuration; ``TRAINER__PLANS__CONFIGURATION`` names one by itself.

    Plans may hold ``__`` themselves, as in nnU-Net's fine-tuning guide.

    Raises:
        ValueError: for fewer than two models, or one that is named twice.
    """
    wanted: list[ModelName] = []
    for text in trainers:
        trainer, *rest = text.split(SEPARATOR)
        if len(rest) == 1 or not all([trainer, *rest]):
            raise ValueError(f"expected a trainer or TRAINER__PLANS__CONFIGURATION, got {text!r}")
        if rest:
            wanted.append(ModelName(trainer, SEPARATOR.join(rest[:-1]), rest[-1]))
        else:
            wanted += [ModelName(trainer, p, c) for c in configurations for p in plans]
    twice = sorted({str(name) for name in wanted if wanted.count(name) > 1})
    if twice:
        raise ValueError(f"expected every model once, got {', '.join(twice)} several times; leave the repetition out")
    if len(wanted) < 2:
        raise ValueError("expected at least two models to compare, got one; name several with -tr, -c or -p")
    return wanted


def find_models(results: Path, names: Sequence[ModelName], folds: Sequence[str], dataset: str) -> list[Model]:
    """The models below ``results``, the data set's folder in nnU-Net's results.

    Raises:
        Problems: naming every missing model, fold and validation, and every unreadable file.
    """
    problems: list[str] = []
    models = [_find_model(results, name, tuple(dict.fromkeys(folds)), dataset, problems) for name in names]
    if problems:
        raise Problems(problems)
    return [model for model in models if model]


def _find_model(
    results: Path, name: ModelName, folds: tuple[str, ...], dataset: str, problems: list[str]
) -> Model | None:
    """The model, or None where ``problems`` says why there is none."""
    folder, plans = results / str(name), f" -p {name.plans}" * (name.plans != "nnUNetPlans")
    train = f"nnUNetv2_train {dataset} {name.configuration} FOLD -tr {name.trainer}{plans}"
    if not folder.is_dir():
        others = sorted(p.name for p in results.glob(SEPARATOR.join("***"))) if results.is_dir() else []
        problems.append(
            f"{name}: no folder {folder}; train it with {train}, or choose among: {', '.join(others) or 'none there'}"
        )
        return None
    try:
        labels, ending = _labels(folder), str(read_json(folder / "dataset.json")["file_ending"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, AssertionError) as error:
        problems.append(f"{name}: {folder} has no usable plans.json and dataset.json: {first_line(error)}")
        return None
    validations: dict[Key, Validation] = {}
    said: dict[str, list[str]] = {}
    for fold in folds:
        try:
            cases = read_validation(folder / f"fold_{fold}", labels.regions, ending, train.replace("FOLD", fold))
        except Problems as error:
            problems += [f"{name}, fold {fold}: {problem}" for problem in error.problems]
            continue
        validations |= {(fold, case): validation for case, validation in cases.items()}
        for remark in remarks(folder / f"fold_{fold}"):
            said.setdefault(remark, []).append(fold)
    about = tuple(f"fold{'s' * (len(where) > 1)} {', '.join(where)}: {remark}" for remark, where in said.items())
    return Model(name, folder, folds, labels, validations, about)


def _labels(folder: Path) -> Labels:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    manager = PlansManager(read_json(folder / "plans.json")).get_label_manager(read_json(folder / "dataset.json"))
    return read_labels(manager)


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
    differences = []
    for name in dict.fromkeys([*first.labels.regions, *other.labels.regions]):
        mine, theirs = (m.labels.regions.get(name, "not there") for m in (first, other))
        if mine != theirs:
            differences.append(f"label {name}: {mine} in {first.name}, {theirs} in {other.name}")
    if first.labels.ignore != other.labels.ignore:
        differences.append(
            f"ignore label: {first.labels.ignore} in {first.name}, {other.labels.ignore} in {other.name}"
        )
    return differences


def _cases_differ(first: Model, other: Model) -> list[str]:
    differences = []
    for fold in dict.fromkeys([*first.folds, *other.folds]):
        mine, theirs = ({case for f, case in m.validations if f == fold} for m in (first, other))
        for cases, having, lacking in ((mine - theirs, first, other), (theirs - mine, other, first)):
            if cases:
                differences.append(
                    f"fold {fold}: {_listed(cases)} validated with {having.name}, not with {lacking.name}"
                )
    return differences


def _listed(cases: set[str]) -> str:
    names = sorted(cases)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{len(names)} case{'s' * (len(names) > 1)} ({', '.join(names[:NAMED])}{more})"

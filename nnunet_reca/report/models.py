"""Finds the models to compare in nnU-Net's results and checks them; every problem is named, not only the first."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: a fold and a case of its validation
Key = tuple[str, str]
#: a label's value, or the values of a region
Region = int | tuple[int, ...]


def values_of(region: Region) -> tuple[int, ...]:
    """Values of a label or a region."""
    return (region,) if isinstance(region, int) else region


class ComparisonError(ValueError):
    """Models that cannot be compared; the message has a line for each problem."""

    def __init__(self, problems: Sequence[str], headline: str = "the models cannot be compared") -> None:
        self.problems, self.headline = tuple(problems), headline
        lines = "".join(f"\n  - {problem}" for problem in problems)
        super().__init__(f"{headline}, {len(problems)} problem{'s' * (len(problems) > 1)}:{lines}")

    def __reduce__(self) -> tuple[type["ComparisonError"], tuple[Sequence[str], str]]:
        """Pickles the arguments, not the message."""
        return type(self), (self.problems, self.headline)


@dataclass(frozen=True)
class Validation:
    """nnU-Net's validation of one case.

    Attributes:
        prediction: segmentation file.
        dice: from summary.json, by name of the label; NaN where prediction and reference are both empty.
    """

    prediction: Path
    dice: Mapping[str, float]


@dataclass(frozen=True)
class Model:
    """A results folder of nnU-Net, with the folds that are compared.

    Attributes:
        trainer, plans, configuration: what the folder is named after.
        folder: of the model.
        folds: asked for.
        regions: label or region by name, without background and ignore label.
        ignore: value of the ignore label, None without one.
        validations: of all folds.
    """

    trainer: str
    plans: str
    configuration: str
    folder: Path
    folds: tuple[str, ...]
    regions: Mapping[str, Region]
    ignore: int | None
    validations: Mapping[Key, Validation]

    @property
    def name(self) -> str:
        return f"{self.trainer}__{self.plans}__{self.configuration}"

    def read(self, file: str) -> dict[str, Any]:
        """``plans.json`` or ``dataset.json`` of the model."""
        return _json(self.folder / file)


def asked_for(
    trainers: Sequence[str], configurations: Sequence[str], plans: Sequence[str]
) -> list[tuple[str, str, str]]:
    """Every combination of trainer, plans and configuration; ``TRAINER__PLANS__CONFIGURATION`` names one by itself.

    Raises:
        ValueError: for fewer than two models, or one that is named twice.
    """
    found: list[tuple[str, str, str]] = []
    for trainer in trainers:
        parts = tuple(trainer.split("__"))
        if len(parts) not in (1, 3):
            raise ValueError(f"expected a trainer or TRAINER__PLANS__CONFIGURATION, got {trainer!r}")
        if len(parts) == 3:
            found.append((parts[0], parts[1], parts[2]))
        else:
            found += [(trainer, p, c) for c in configurations for p in plans]
    twice = sorted({"__".join(m) for m in found if found.count(m) > 1})
    if twice:
        raise ValueError(f"expected every model once, got {', '.join(twice)} several times; leave the repetition out")
    if len(found) < 2:
        raise ValueError("expected at least two models to compare, got one; name several with -tr, -c or -p")
    return found


def find_models(
    results: Path, names: Sequence[tuple[str, str, str]], folds: Sequence[str], dataset: str
) -> list[Model]:
    """The models below ``results``, the data set's folder in nnU-Net's results.

    Raises:
        ComparisonError: naming every missing model and fold, unfinished training and unreadable file.
    """
    problems: list[str] = []
    models = [_find_model(results, *name, tuple(dict.fromkeys(folds)), dataset, problems) for name in names]
    if problems:
        raise ComparisonError(problems)
    return [model for model in models if model]


def _find_model(
    results: Path, trainer: str, plans: str, configuration: str, folds: tuple[str, ...], dataset: str, problems: list
) -> Model | None:
    name = f"{trainer}__{plans}__{configuration}"
    folder = results / name
    train = f"nnUNetv2_train {dataset} {configuration} FOLD -tr {trainer}" + f" -p {plans}" * (plans != "nnUNetPlans")
    if not folder.is_dir():
        others = sorted(p.name for p in results.glob("*__*__*")) if results.is_dir() else []
        problems.append(
            f"{name}: no folder {folder}; train it with {train}, or choose among: {', '.join(others) or 'none there'}"
        )
        return None
    try:
        regions, ignore = _labels(folder)
        ending = str(_json(folder / "dataset.json")["file_ending"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, AssertionError) as error:
        problems.append(f"{name}: {folder} has no usable plans.json and dataset.json: {_first_line(error)}")
        return None
    validations: dict[Key, Validation] = {}
    for fold in folds:
        prefix = f"{name}, fold {fold}"
        try:
            found = _read_fold(folder / f"fold_{fold}", regions, ending, train.replace("FOLD", fold))
        except ComparisonError as error:
            problems += [f"{prefix}: {problem}" for problem in error.problems]
            continue
        validations |= {(fold, case): validation for case, validation in found.items()}
    return Model(trainer, plans, configuration, folder, folds, regions, ignore, validations)


def _labels(folder: Path) -> tuple[dict[str, Region], int | None]:
    """Regions or labels by name, in nnU-Net's order, and the ignore label."""
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    dataset_json = _json(folder / "dataset.json")
    manager = PlansManager(_json(folder / "plans.json")).get_label_manager(dataset_json)
    wanted = manager.foreground_regions if manager.has_regions else manager.foreground_labels
    values = {_region(value): name for name, value in dataset_json["labels"].items()}
    regions = {values.get(_region(value), f"label {value}"): _region(value) for value in wanted}
    return regions, None if manager.ignore_label is None else int(manager.ignore_label)


def _region(value: Any) -> Region:
    return tuple(int(v) for v in value) if isinstance(value, (list, tuple)) else int(value)


def _read_fold(folder: Path, regions: Mapping[str, Region], ending: str, train: str) -> dict[str, Validation]:
    """Validation of a fold, by case.

    Raises:
        ComparisonError: naming everything that is missing or unreadable.
    """
    if not folder.is_dir():
        raise ComparisonError([f"not trained, {folder} does not exist; run {train}"])
    if not (folder / "checkpoint_final.pth").is_file():
        raise ComparisonError([f"the training is unfinished{_progress(folder)}; go on with {train} --c"])
    summary = folder / "validation" / "summary.json"
    if not summary.is_file():
        raise ComparisonError([f"not validated, {summary} does not exist; run {train} --val"])
    try:
        entries = _json(summary)["metric_per_case"]
        found = {Path(entry["prediction_file"]).name.removesuffix(ending): _dice(entry, regions) for entry in entries}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ComparisonError([f"{summary} is not a summary of these labels: {_first_line(error)}"]) from error
    if not found:
        raise ComparisonError([f"{summary} holds no case; run {train} --val"])
    files = {case: summary.parent / f"{case}{ending}" for case in found}
    missing = [f"prediction {file} is missing; run {train} --val" for file in files.values() if not file.is_file()]
    if missing:
        raise ComparisonError(missing)
    return {case: Validation(files[case], dice) for case, dice in found.items()}


def _dice(entry: Mapping[str, Any], regions: Mapping[str, Region]) -> dict[str, float]:
    metrics = {_key(key): values for key, values in entry["metrics"].items()}
    if set(metrics) != set(regions.values()):
        raise ValueError(f"expected the labels {list(regions.values())}, got {list(metrics)}")
    values = {name: metrics[region]["Dice"] for name, region in regions.items()}
    return {name: float("nan") if value is None else float(value) for name, value in values.items()}


def _key(key: str) -> Region:
    """``"3"`` or ``"(1, 2)"``, as nnU-Net writes labels and regions."""
    numbers = tuple(int(number) for number in re.findall(r"-?\d+", key))
    return numbers if key.startswith("(") else numbers[0]


def _progress(folder: Path) -> str:
    """Where a training stopped, from its logs."""
    from nnunet_reca.report.logs import read_logs

    epochs = read_logs(folder).epochs
    return f" (its log ends in epoch {max(epochs)})" if epochs else ""


def _json(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text())


def _first_line(error: BaseException) -> str:
    text = (str(error).splitlines() or [""])[0]
    return f"no entry {text}" if isinstance(error, KeyError) else text or type(error).__name__

"""Finds the models to compare in nnU-Net's results and checks them; every problem is named, not only the first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_reca.results.files import SEPARATOR, ModelName, read_json
from nnunet_reca.results.labels import Labels, read_labels
from nnunet_reca.results.problems import Problems, first_line
from nnunet_reca.results.validation import Validation, read_validation, remarks

#: a fold and a case of its validation
Key = tuple[str, str]


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

"""All that is known before cases are measured, so that what is missing is named before the long part begins."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_reca.report.agreement import Common, agree
from nnunet_reca.report.cost import Cost, cost_of
from nnunet_reca.report.logs import TrainingLog, read_logs
from nnunet_reca.report.models import ComparisonError, Model
from nnunet_reca.report.readers import reader_of


@dataclass(frozen=True)
class Gathered:
    """What is there.

    Attributes:
        dataset: name.
        models, common: what is compared.
        references: segmentation by case.
        images: channels by case, none where they are not at hand.
        reader: nnU-Net's.
        logs: of the folds, by model.
        costs: of the models.
    """

    dataset: str
    models: Sequence[Model]
    common: Common
    references: Mapping[str, Path]
    images: Mapping[str, Sequence[Path]]
    reader: Any
    logs: Mapping[str, Sequence[TrainingLog]]
    costs: Sequence[Cost]


def gather(dataset: str, models: Sequence[Model], *, intersection: bool) -> Gathered:
    """Find what models have in common, references, images, reader, logs and costs.

    Raises:
        ValueError: naming what is missing, or differs between models without ``intersection``.
    """
    common = agree(models, intersection=intersection)
    references, images = _data(dataset, models[0], common)
    reader = reader_of(models[0])
    logs = {model.name: [read_logs(model.folder / f"fold_{fold}") for fold in model.folds] for model in models}
    costs = [cost_of(model, logs[model.name]) for model in models]
    return Gathered(dataset, models, common, references, images, reader, logs, costs)


def _data(dataset: str, model: Model, common: Common) -> tuple[dict[str, Path], dict[str, list[Path]]]:
    """Reference and images by case. References are those of the preprocessed folder, else of the raw data.

    Raises:
        ComparisonError: naming every case without a reference.
    """
    ending = str(model.read("dataset.json")["file_ending"])
    raw = _raw_cases(dataset)
    references: dict[str, Path] = {}
    images: dict[str, list[Path]] = {}
    problems = []
    preprocessed = Path(os.environ.get("nnUNet_preprocessed") or os.devnull) / dataset / "gt_segmentations"
    for case in dict.fromkeys(case for _, case in common.keys):
        files = raw.get(case, {})
        candidates = [preprocessed / f"{case}{ending}", *([Path(files["label"])] if "label" in files else [])]
        found = next((file for file in candidates if file.is_file()), None)
        if found is None:
            problems.append(f"{case}: no reference, looked for {' and '.join(map(str, candidates))}")
        else:
            references[case] = found
        images[case] = [Path(file) for file in files.get("images", ()) if Path(file).is_file()]
    if problems:
        raise ComparisonError([*problems, "set nnUNet_preprocessed or nnUNet_raw to the folder of the trainings"])
    return references, images


def _raw_cases(dataset: str) -> Mapping[str, Mapping[str, Any]]:
    """Files of the raw data set, by case; empty where it is not at hand."""
    from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

    folder = Path(os.environ.get("nnUNet_raw") or os.devnull) / dataset
    try:
        return get_filenames_of_train_images_and_targets(str(folder))
    except (OSError, ValueError, KeyError, TypeError, AssertionError, RuntimeError):
        return {}

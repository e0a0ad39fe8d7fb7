"""All that is known before cases are measured, so that what is missing is named before the long part begins."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_reca.report.cost import Cost, cost_of_runs
from nnunet_reca.report.models import Common, Model, agree
from nnunet_reca.report.runs import Run, runs_of
from nnunet_reca.results.files import name_in_path, read_json
from nnunet_reca.results.images import reader_of
from nnunet_reca.results.logs import TrainingLog, read_logs
from nnunet_reca.results.problems import Problems


@dataclass(frozen=True)
class Gathered:
    """What is there.

    Attributes:
        dataset: name.
        models: results folders that are compared, one of each run.
        runs: which model each of them is a run of, by its name.
        common: what is compared of them.
        references: segmentation by case.
        images: channels by case, none where they are not at hand.
        reader: nnU-Net's.
        logs: of the folds of all runs, by model.
        costs: of the models.
        versions: of the packages that take part.
    """

    dataset: str
    models: Sequence[Model]
    runs: Mapping[str, Run]
    common: Common
    references: Mapping[str, Path]
    images: Mapping[str, Sequence[Path]]
    reader: Any
    logs: Mapping[str, Sequence[TrainingLog]]
    costs: Sequence[Cost]
    versions: Mapping[str, str]

    def folders(self) -> dict[str, dict[str, Model]]:
        """Results folders by model and run."""
        return _folders(self.models, self.runs)


def _folders(models: Sequence[Model], runs: Mapping[str, Run]) -> dict[str, dict[str, Model]]:
    found: dict[str, dict[str, Model]] = {}
    for model in models:
        run = runs[str(model.name)]
        found.setdefault(str(run.model), {})[run.seed] = model
    return found


def gather(dataset: str, models: Sequence[Model], versions: Mapping[str, str], *, intersection: bool) -> Gathered:
    """Find what models have in common, references, images, reader, logs and costs.

    Raises:
        ValueError: naming what is missing, or differs between models without ``intersection``.
    """
    common = agree(models, intersection=intersection)
    references, images = _data(dataset, models[0], common)
    reader = reader_of(models[0].plans_file)
    runs = runs_of([model.name for model in models])
    logs: dict[str, list[TrainingLog]] = {}
    costs = []
    for name, folders in _folders(models, runs).items():
        logs[name] = [read_logs(run.folder / f"fold_{fold}") for run in folders.values() for fold in run.folds]
        costs.append(cost_of_runs(name, list(folders.values()), logs[name]))
    return Gathered(dataset, models, runs, common, references, images, reader, logs, costs, versions)


def _data(dataset: str, model: Model, common: Common) -> tuple[dict[str, Path], dict[str, list[Path]]]:
    """Reference and images by case. References are those of the preprocessed folder, else of the raw data.

    Raises:
        Problems: naming every case without a reference.
    """
    ending = str(read_json(model.dataset_file)["file_ending"])
    raw = _raw_cases(dataset)
    references: dict[str, Path] = {}
    images: dict[str, list[Path]] = {}
    problems = []
    preprocessed = Path(os.environ.get("nnUNet_preprocessed") or os.devnull) / dataset / "gt_segmentations"
    for case in dict.fromkeys(case for _, case in common.keys):
        files = raw.get(case, {})
        candidates = [preprocessed / f"{case}{ending}", *files.get("label", ())]
        reference = _first_file(candidates)
        if reference is None:
            problems.append(f"{case}: no reference, looked for {' and '.join(map(str, candidates))}")
        else:
            references[case] = reference
        channels = [_first_file(places) for places in files.get("images", ())]
        images[case] = [file for file in channels if file]
    if problems:
        raise Problems([*problems, "set nnUNet_preprocessed or nnUNet_raw to the folder of the trainings"])
    return references, images


def _first_file(candidates: Sequence[Path]) -> Path | None:
    return next((file for file in candidates if file.is_file()), None)


def _raw_cases(dataset: str) -> Mapping[str, Mapping[str, Any]]:
    """Places where the raw data set's label and each of its images may lie, by case; empty where it is not at hand."""
    from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

    folder = Path(os.environ.get("nnUNet_raw") or os.devnull) / dataset
    try:
        cases = get_filenames_of_train_images_and_targets(str(folder))
        return {
            case: {
                "label": _places(folder, "labelsTr", files["label"]),
                "images": [_places(folder, "imagesTr", file) for file in files["images"]],
            }
            for case, files in cases.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AssertionError, RuntimeError):
        return {}


def _places(raw: Path, usual: str, file: str) -> list[Path]:
    """A file that dataset.json may list with the path of another system: as it says, and where nnU-Net has such."""
    return list(dict.fromkeys([Path(file), Path(file.replace("\\", "/")), raw / usual / name_in_path(file)]))

"""What nnU-Net leaves behind after trainings, without training: references, predictions, summaries and logs."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import SimpleITK as sitk
from batchgenerators.utilities.file_and_folder_operations import save_json
from nnunetv2.evaluation.evaluate_predictions import compute_metrics, save_summary_json
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_reca.report.scores import Scores
from support.plan_factory import HIPPOCAMPUS_2D, HIPPOCAMPUS_3D, make_plans

DATASET = "Dataset999_Test"
LABELS = {"background": 0, "Liver": 1, "Spleen": 2}
SPACING = (3.0, 0.7, 1.1)
SHAPE = (5, 17, 13)
END = "2026-01-01 00:00:00.0: Training done. \n"
EPOCH = """2026-01-01 00:00:00.0:  
2026-01-01 00:00:00.0: Epoch {n} 
2026-01-01 00:00:00.0: train_loss {train} 
2026-01-01 00:00:00.0: val_loss {val} 
2026-01-01 00:00:00.0: Pseudo dice [np.float32({dice}), np.float32(nan)] 
2026-01-01 00:00:00.0: Epoch time: {seconds} s 
"""


def epoch_text(n: int, *, train: float = 0.5, val: float = 0.25, dice: float = 0.75, seconds: float = 10.0) -> str:
    """Lines of an epoch as nnU-Net logs them."""
    return EPOCH.format(n=n, train=train, val=val, dice=dice, seconds=seconds)


class Results:
    """Results of one data set in nnU-Net's folders.

    Args:
        folders: holds raw, preprocessed and results.
        labels: of dataset.json.
        ending: of the files, .nii.gz or .png.
        dataset_json: more entries.
    """

    def __init__(
        self,
        folders: Path,
        labels: Mapping[str, Any] = LABELS,
        ending: str = ".nii.gz",
        spacing: Sequence[float] = SPACING,
        **dataset_json: Any,
    ) -> None:
        self.ending, self.spacing = ending, spacing
        self.dataset_json = {
            "channel_names": {"0": "CT"},
            "labels": copy.deepcopy(dict(labels)),
            "numTraining": 5,
            "file_ending": ending,
            **dataset_json,
        }
        self.raw, self.preprocessed, self.results = (
            folders / name / DATASET for name in ("raw", "preprocessed", "results")
        )
        self.references = self.preprocessed / "gt_segmentations"
        for folder in (self.references, self.results, self.raw / "imagesTr", self.raw / "labelsTr"):
            folder.mkdir(parents=True)
        save_json(self.dataset_json, str(self.raw / "dataset.json"), sort_keys=False)

    def write(self, file: Path, array: np.ndarray) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        if self.ending == ".png":
            from skimage import io

            io.imsave(file, array[0].astype(np.uint8), check_contrast=False)
            return
        image = sitk.GetImageFromArray(array)
        image.SetSpacing([float(s) for s in self.spacing[::-1]])
        sitk.WriteImage(image, str(file))

    def reference(self, case: str, array: np.ndarray) -> None:
        self.write(self.references / f"{case}{self.ending}", array.astype(np.uint8))
        self.write(self.raw / "imagesTr" / f"{case}_0000{self.ending}", (array * 40 + 10).astype(np.uint8))

    def model(
        self,
        trainer: str,
        folds: Mapping[str, Mapping[str, np.ndarray]],
        configuration: str = "3d_fullres",
        labels: Mapping[str, Any] | None = None,
        plans_name: str = "nnUNetPlans",
    ) -> Path:
        """A trained and validated model: predictions by fold and case."""
        folder = self.results / f"{trainer}__{plans_name}__{configuration}"
        folder.mkdir()
        reader = "NaturalImage2DIO" if self.ending == ".png" else "SimpleITKIO"
        plans = make_plans(**{"2d": HIPPOCAMPUS_2D, "3d_fullres": HIPPOCAMPUS_3D}) | {"image_reader_writer": reader}
        if configuration not in plans["configurations"]:
            plans["configurations"][configuration] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
        dataset_json = self.dataset_json | ({"labels": dict(labels)} if labels else {})
        save_json(plans, str(folder / "plans.json"), sort_keys=False)
        save_json(dataset_json, str(folder / "dataset.json"), sort_keys=False)
        manager = PlansManager(plans).get_label_manager(dataset_json)
        regions = manager.foreground_regions if manager.has_regions else manager.foreground_labels
        for fold, predictions in folds.items():
            self.fold(folder / f"fold_{fold}", predictions, [_plain(r) for r in regions], manager.ignore_label, reader)
        return folder

    def fold(
        self, folder: Path, predictions: Mapping[str, np.ndarray], regions: list[Any], ignore: int | None, reader: str
    ) -> None:
        io = PlansManager(make_plans() | {"image_reader_writer": reader}).image_reader_writer_class()
        found = []
        for case, array in predictions.items():
            file = folder / "validation" / f"{case}{self.ending}"
            self.write(file, array.astype(np.uint8))
            found.append(compute_metrics(str(self.references / f"{case}{self.ending}"), str(file), io, regions, ignore))
        for case in found:
            case["metrics"] = {key: {k: float(v) for k, v in m.items()} for key, m in case["metrics"].items()}
        summary = {"metric_per_case": found, "mean": {}, "foreground_mean": {}}
        save_summary_json(summary, str(folder / "validation" / "summary.json"))
        (folder / "checkpoint_final.pth").touch()
        text = "".join(epoch_text(n, train=0.5 - n, val=0.25 - n, seconds=10 + n) for n in range(3)) + END
        (folder / "training_log_2026_1_1_00_00_00.txt").write_text(text)


def _plain(region: Any) -> Any:
    return tuple(map(int, region)) if isinstance(region, (tuple, list)) else int(region)


def blobs(seed: int, values: Sequence[int] = (1, 2), shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Boxes of the given values at random places, one beside the other along the second axis."""
    generator = np.random.default_rng(seed)
    array = np.zeros(shape, dtype=np.uint8)
    band = shape[1] // len(values)
    for n, value in enumerate(values):
        top, left = n * band + generator.integers(0, 2), generator.integers(0, 4)
        array[:, top : top + band - 1, left : left + 5] = value
    return array


def shifted(array: np.ndarray, by: int) -> np.ndarray:
    """Moved along the last axis, background behind it."""
    moved = np.zeros_like(array)
    moved[..., by:] = array[..., : array.shape[-1] - by]
    return moved


def two_models(folders: Path, *, folds: int = 2, cases: int = 4, **options: Any) -> Results:
    """Models A (each case off by one voxel) and B (by two in odd cases) on references of two labels."""
    results = Results(folders, **options)
    predictions: dict[str, dict[str, dict[str, np.ndarray]]] = {"A": {}, "B": {}}
    for fold in range(folds):
        for n in range(cases):
            case, array = f"case_{fold}{n}", blobs(10 * fold + n)
            results.reference(case, array)
            predictions["A"].setdefault(str(fold), {})[case] = shifted(array, 1)
            predictions["B"].setdefault(str(fold), {})[case] = shifted(array, 1 + n % 2)
    for name, found in predictions.items():
        results.model(f"nnUNetTrainer{name}", found)
    return results


def make_scores(dice, keys=None, labels=None, one_empty=()):
    """Scores of models A, B, ... from Dice (models, cases, labels).

    Args:
        keys: fold and case, by default of one fold.
        labels: names, by default x, y, z.
        one_empty: positions (model, case, label) where only one of prediction and reference is empty.
    """
    values = np.array(dice, float)
    models, cases, count = values.shape
    keys = keys or [("0", f"case{n}") for n in range(cases)]
    labels = labels or "xyz"[:count]
    rows = [
        ("ABCDEF"[m], *keys[c], labels[n], d, 10 * (1 - d), d, (m, c, n) in one_empty)
        for (m, c, n), d in np.ndenumerate(values)
    ]
    columns = ["model", "fold", "case", "label", "dice", "hd95", "nsd", "one_empty"]
    return Scores.of(pd.DataFrame(rows, columns=columns), "mm", 1.0)


def make_run_scores(*models, labels=None):
    """Scores of models A, B, ..., each from Dice (runs, cases, labels), of one fold; seeds count from 0."""
    rows = [
        ("ABCDEF"[m], str(run), "0", f"case{c}", (labels or "xyz")[n], d, 10 * (1 - d), d, False)
        for m, values in enumerate(models)
        for (run, c, n), d in np.ndenumerate(np.array(values, float))
    ]
    columns = ["model", "run", "fold", "case", "label", "dice", "hd95", "nsd", "one_empty"]
    return Scores.of(pd.DataFrame(rows, columns=columns), "mm", 1.0)


class HungryReader:
    """A reader that runs out of memory, in worker processes too."""

    def read_seg(self, file: str) -> Any:
        raise MemoryError

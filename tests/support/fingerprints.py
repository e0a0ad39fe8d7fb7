"""Plans that nnU-Net's own planners make of drawn data set fingerprints, without data and without memory."""

import contextlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from nnunetv2.experiment_planning.experiment_planners import default_experiment_planner
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    nnUNetPlannerResEncL,
    nnUNetPlannerResEncM,
    nnUNetPlannerResEncXL,
)

PLANNERS = [ExperimentPlanner, nnUNetPlannerResEncM, nnUNetPlannerResEncL, nnUNetPlannerResEncXL]
NAME = "Dataset998_Drawn"


@contextlib.contextmanager
def quick_estimates() -> Iterator[None]:
    """Estimates of memory at no cost: a planner asks for those of some 40 patch sizes for every plan.

    Networks are on the meta device, those of equal arguments are built once, and the number of processes is set:
    nnU-Net asks the system for its name each time otherwise.
    """
    build, built = default_experiment_planner.get_network_from_plans, {}

    def build_once(*positional: Any, **named: Any) -> torch.nn.Module:
        key = repr((positional, named))
        if key not in built:
            built[key] = build(*positional, **named)
        return built[key]

    with (
        mock.patch.dict(os.environ, nnUNet_n_proc_DA="1"),
        mock.patch.object(default_experiment_planner, "get_network_from_plans", build_once),
        torch.device("meta"),
    ):
        yield


def plan(
    folder: Path, planner: type, shape: list[int], spacing: list[float], channels: int, classes: int, cases: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Plan a data set of equal images below ``folder``, to which nnU-Net's variables must point.

    Returns:
        Plans and dataset.json.
    """
    dataset = write_data_set(folder, shape, spacing, channels, classes, cases)
    preprocessed = folder / "preprocessed" / NAME
    for old in preprocessed.glob("*Plans.json"):
        old.unlink()
    with contextlib.redirect_stdout(io.StringIO()), quick_estimates():
        planned = planner(NAME)
        planned.plan_experiment()
    return json.loads((preprocessed / f"{planned.plans_identifier}.json").read_text()), dataset


def write_data_set(
    folder: Path, shape: list[int], spacing: list[float], channels: int, classes: int, cases: int
) -> dict[str, Any]:
    """Write dataset.json and fingerprint of a data set of equal images, and return the first."""
    raw, preprocessed = folder / "raw" / NAME, folder / "preprocessed" / NAME
    (raw / "imagesTr").mkdir(parents=True, exist_ok=True)
    preprocessed.mkdir(parents=True, exist_ok=True)
    images = [f"imagesTr/case_{channel:04d}.nii.gz" for channel in range(channels)]
    for image in images:
        (raw / image).touch()
    dataset = {
        "channel_names": {str(c): "MRI" for c in range(channels)},
        "labels": {"background": 0, **{f"label{i}": i for i in range(1, classes)}},
        "numTraining": cases,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "SimpleITKIO",
        # without this list nnU-Net looks for files by a dozen processes, which takes longer than the plan
        "dataset": {"case": {"images": images, "label": "labelsTr/case.nii.gz"}},
    }
    statistics = dict.fromkeys(("max", "mean", "median", "min", "percentile_00_5", "percentile_99_5", "std"), 1.0)
    fingerprint = {
        "spacings": [spacing] * 3,
        "shapes_after_crop": [shape] * 3,
        "foreground_intensity_properties_per_channel": {str(c): statistics for c in range(channels)},
        "median_relative_size_after_cropping": 1.0,
    }
    (raw / "dataset.json").write_text(json.dumps(dataset))
    (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
    return dataset

"""Plans that nnU-Net's own planners make of drawn data set fingerprints, without data and without memory."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import torch
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    nnUNetPlannerResEncL,
    nnUNetPlannerResEncM,
    nnUNetPlannerResEncXL,
)

PLANNERS = [ExperimentPlanner, nnUNetPlannerResEncM, nnUNetPlannerResEncL, nnUNetPlannerResEncXL]
NAME = "Dataset998_Drawn"


def plan(
    folder: Path, planner: type, shape: list[int], spacing: list[float], channels: int, classes: int, cases: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Plan a data set of equal images below ``folder``, to which nnU-Net's variables must point.

    Returns:
        Plans and dataset.json.
    """
    raw, preprocessed = folder / "raw" / NAME, folder / "preprocessed" / NAME
    (raw / "imagesTr").mkdir(parents=True, exist_ok=True)
    (raw / "labelsTr").mkdir(exist_ok=True)
    preprocessed.mkdir(parents=True, exist_ok=True)
    for channel in range(channels):
        (raw / "imagesTr" / f"case_{channel:04d}.nii.gz").touch()
    dataset = {
        "channel_names": {str(c): "MRI" for c in range(channels)},
        "labels": {"background": 0, **{f"label{i}": i for i in range(1, classes)}},
        "numTraining": cases,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "SimpleITKIO",
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
    for old in preprocessed.glob("*Plans.json"):
        old.unlink()
    # the planner builds its own networks to estimate memory: on the meta device that costs nothing
    with contextlib.redirect_stdout(io.StringIO()), torch.device("meta"):
        planned = planner(NAME)
        planned.plan_experiment()
    return json.loads((preprocessed / f"{planned.plans_identifier}.json").read_text()), dataset

"""One workspace for all tests of features: four small data sets, planned and preprocessed, and a cross-validation."""

import json

import pytest
from support.feature_models import MODELS, SMALL
from support.raw_data import CHANNELS, COLOUR, PLAIN, REGIONS, make_channels, make_colour, make_plain, make_regions
from support.workspace import Workspace


@pytest.fixture(scope="session")
def workspace(tmp_path_factory):
    with Workspace(tmp_path_factory.mktemp("features")) as workspace:
        fill(workspace)
        yield workspace


def fill(workspace):
    """Make, plan and preprocess the data sets."""
    for make in (make_plain, make_regions, make_channels, make_colour):
        make(workspace.folder / "raw")
    few = ("-np", 1, "-npfp", 1)
    workspace.run_all(
        ("nnUNetv2_plan_and_preprocess", "-d", REGIONS, CHANNELS, "-c", "3d_fullres", *few),
        ("nnUNetv2_plan_and_preprocess", "-d", COLOUR, "-c", "2d", *few, "--verify_dataset_integrity"),
        ("nnUNetv2_plan_and_preprocess", "-d", PLAIN, "--no_pp", *few),
        ("nnUNetv2_plan_experiment", "-d", PLAIN, "-pl", "nnUNetPlannerResEncM"),
        ("python", "-m", "nnunetv2.tests.integration_tests.add_lowres_and_cascade", "-d", PLAIN),
        ("nnUNetv2_preprocess", "-d", PLAIN, "-c", "2d", "3d_fullres", "3d_lowres", "-np", 1),
    )
    file = workspace.folder / "preprocessed" / workspace.name(PLAIN) / "nnUNetPlans.json"
    plans = json.loads(file.read_text())
    plans["configurations"]["3d_small"] = SMALL
    file.write_text(json.dumps(plans))


@pytest.fixture(scope="session")
def cross_validated(workspace):
    """Two folds of two networks, with probabilities: one for volumes, one for slices."""
    workspace.run_all(*(workspace.training(*model, "--npz", fold=fold) for model in MODELS for fold in (0, 1)))
    return workspace

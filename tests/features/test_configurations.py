"""Configurations of any kind: low resolution and cascade, inherited, ResEnc plans, plans for a memory, own trainers."""

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from support.estimates import needs_estimates
from support.feature_models import SLICES, SMALL, VOLUMES
from support.raw_data import CASES, PLAIN

pytestmark = pytest.mark.slow

STAGES = SLICES  # Swin-Unet, in 3D here
#: for 0.03 GB above the process's start
PLAN = ("-gpu_memory_target", 0.03, "-device", "cpu", "-c", "2d")
PLANNED = "nnUNetRecaPlans_SwinUnetReca_tiny_0.03G_cpu"
RESENC = ("nnUNetTrainerNnFormerReca_tiny_1epochs", "3d_fullres", "nnUNetResEncUNetMPlans")
#: as a user writes it, in a folder of nnUNet_extTrainer
OWN = """
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunet_reca.trainers import nnUNetTrainerSwinUNETRReca_tiny_1epochs

class nnUNetTrainerMine(nnUNetTrainerSwinUNETRReca_tiny_1epochs):
    def __init__(self, plans, configuration, fold, dataset_json, device=torch.device("cuda")):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.enable_deep_supervision = False

class nnUNetTrainerStep(nnUNetTrainer):
    def __init__(self, plans, configuration, fold, dataset_json, device=torch.device("cuda")):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = self.num_iterations_per_epoch = self.num_val_iterations_per_epoch = 1
"""


@pytest.fixture(scope="module")
def own(workspace):
    """Folder of a user's own trainers."""
    folder = workspace.folder / "trainers"
    folder.mkdir()
    (folder / "my_trainers.py").write_text(OWN)
    return folder


@pytest.fixture(scope="module")
def trained(workspace, own):
    """Trainings and predictions with nnU-Net's plans."""
    predictions = workspace.folder / "stages"
    cascade = (
        STAGES,
        "3d_cascade_fullres",
        "-f",
        0,
        "--save_probabilities",
        "--disable_tta",
        "-prev_stage_predictions",
    )
    workspace.run_all(
        workspace.training(STAGES, "3d_lowres", fold="all"),
        workspace.training(STAGES, "3d_cascade_fullres", fold=0),
        workspace.prediction(predictions / "low", STAGES, "3d_lowres", "-f", "all", "--disable_tta"),
        workspace.prediction(predictions / "full", *cascade, predictions / "low"),
    )
    shutil.copytree(predictions / "low", predictions / "empty")
    for file in (predictions / "empty").glob("*.nii.gz"):
        sitk.WriteImage(sitk.ReadImage(str(file)) * 0, str(file))
    workspace.run_all(
        workspace.prediction(predictions / "full_of_empty", *cascade, predictions / "empty"),
        workspace.training(VOLUMES, "3d_small", fold=2),
        workspace.training(*RESENC[:2], "-p", RESENC[2]),
        workspace.training("nnUNetTrainerMine", "2d"),
        workspace.prediction(workspace.folder / "mine", "nnUNetTrainerMine", "2d", "-f", 0, "--disable_tta"),
        nnUNet_extTrainer=str(own),
    )
    return workspace


@pytest.fixture(scope="module")
def planned(workspace, own):
    """A plan for a memory, trained and predicted."""
    workspace.run_all(
        ("nnUNetv2_reca_plan", "-d", PLAIN, "-tr", SLICES, *PLAN),
        workspace.training(SLICES, "2d", "-p", PLANNED),
        workspace.training("nnUNetTrainerStep", "2d", "-p", PLANNED),
        workspace.prediction(workspace.folder / "planned", SLICES, "2d", "-f", 0, "-p", PLANNED, "--disable_tta"),
        nnUNet_extTrainer=str(own),
    )
    return workspace


def plans_of(workspace, *model, plans="nnUNetPlans"):
    return json.loads((workspace.model(*model, plans=plans) / "plans.json").read_text())["configurations"][model[1]]


def test_low_resolution_on_all_cases_predicts_each_for_the_next_stage(trained):
    folder = trained.model(STAGES, "3d_lowres")
    assert len(list((folder / "predicted_next_stage" / "3d_cascade_fullres").iterdir())) == CASES
    summary = json.loads((folder / "fold_all" / "validation" / "summary.json").read_text())
    assert len(summary["metric_per_case"]) == CASES


def test_cascade_sees_the_image_and_a_channel_per_label(trained):
    weights = trained.checkpoint(STAGES, "3d_cascade_fullres")["network_weights"]
    assert weights["encoder.patch_embed.proj.weight"].shape[1] == 1 + 2
    assert (trained.model(STAGES, "3d_cascade_fullres") / "fold_0" / "validation" / "summary.json").exists()


def test_cascade_uses_the_prediction_of_the_stage_before(trained):
    folder = trained.folder / "stages"
    files = sorted((folder / "full").glob("*.npz"))
    first, other = (np.load(folder / f / files[0].name)["probabilities"] for f in ("full", "full_of_empty"))
    low = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "low" / files[0].name.replace("npz", "nii.gz"))))
    assert len(files) == 2 and first.shape == other.shape == (3, *low.shape)
    assert low.any() and np.abs(first - other).max() > 1e-3


def test_inheriting_configuration_has_its_own_batch_patch_and_windows(trained):
    small = plans_of(trained, VOLUMES, "3d_small")
    assert {k: small[k] for k in SMALL} == SMALL
    architecture = small["architecture"]["arch_kwargs"]
    assert architecture["window_sizes"][0] == [6, 8, 5]  # of 12 x 16 x 20 tokens
    (log,) = (trained.model(VOLUMES, "3d_small") / "fold_2").glob("training_log*.txt")
    assert "'batch_size': 3, 'patch_size': [24, 32, 40]" in log.read_text()


def test_resenc_plans_train_and_keep_what_was_planned(trained):
    *model, identifier = RESENC
    planned = plans_of(trained, *model, plans=identifier)
    assert planned["architecture"]["network_class_name"].endswith(".NnFormer")
    assert planned["planned_architecture"]["network_class_name"].endswith(".ResidualEncoderUNet")
    assert (trained.model(*model, plans=identifier) / "fold_0" / "validation" / "summary.json").exists()


@needs_estimates
def test_plans_for_a_memory_train_and_predict_with_its_network_and_with_nnunets_on_the_data_that_are_there(planned):
    plans = json.loads((planned.folder / "preprocessed" / planned.name(PLAIN) / f"{PLANNED}.json").read_text())
    made, memory = plans["configurations"]["2d"], plans["planned_for"]["training_step"]["2d"]
    assert made["data_identifier"] == "nnUNetPlans_2d" and made["batch_size"] >= 2
    assert 0.02e9 < memory["estimated_bytes"] <= memory["target_bytes"] == 0.03e9
    ours, stock = (plans_of(planned, name, "2d", plans=PLANNED) for name in (SLICES, "nnUNetTrainerStep"))
    assert ours["architecture"]["network_class_name"].endswith(".SwinUnet")
    assert stock["architecture"] == ours["planned_architecture"] == made["architecture"]
    assert (planned.model("nnUNetTrainerStep", "2d", plans=PLANNED) / "fold_0" / "validation" / "summary.json").exists()
    assert len(list((planned.folder / "planned").glob("*.nii.gz"))) == 2


def test_ones_own_trainer_switches_deep_supervision_off(trained):
    checkpoint = trained.checkpoint("nnUNetTrainerMine", "2d")
    assert checkpoint["trainer_name"] == "nnUNetTrainerMine"
    names = {n for n in checkpoint["network_weights"] if ".all_modules." not in n}
    coarse = {n for n in names if n.startswith("decoder.seg_layers.") and not n.startswith("decoder.seg_layers.0.")}
    assert coarse, "the heads are there, so that weights move between both"
    assert len(checkpoint["optimizer_state"]["state"]) == len(names - coarse), "and get no gradient"
    assert len(list((trained.folder / "mine").glob("*.nii.gz"))) == 2

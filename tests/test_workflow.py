"""The whole workflow through the stock nnU-Net commands, on real MRI: self-attention and RecA, 2d and 3d_fullres.

The trainings are a few steps long; what is checked is that every command finds its input, and what it writes. One
model is trained and predicted as a user does it, by processes of their own that spawn workers; all else is done in
processes that have imported nnU-Net already.
"""

import json
import pickle
import re
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from support.copy_cases import copy_cases
from support.workspace import EXAMPLE, Workspace

pytestmark = pytest.mark.slow

NAME = EXAMPLE.name
EPOCHS = 3
RECA, SA = (f"nnUNetTrainerSwinUNETR{twin}_tiny_{EPOCHS}epochs" for twin in ("Reca", ""))
CONFIGURATIONS = ("2d", "3d_fullres")
OTHERS = [("NnFormer", "3d_fullres"), ("SwinUnet", "2d"), ("DATransUnet", "2d")]
TRAINING_CASES = 5


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Planned and preprocessed data set of five training cases."""
    with Workspace(tmp_path_factory.mktemp("workflow")) as workspace:
        copy_cases(EXAMPLE, workspace.folder / "raw" / NAME, TRAINING_CASES)
        workspace.run_all(("nnUNetv2_plan_and_preprocess", "-d", 4, "-c", *CONFIGURATIONS, "-np", 1, "-npfp", 1))
        yield workspace


@pytest.fixture(scope="module")
def continued(workspace):
    """The first model trained and validated, killed in its second epoch and continued."""
    workspace.run_until_killed("Epoch 1", *workspace.training(RECA, "3d_fullres"))
    workspace.log = workspace.train(RECA, "3d_fullres", "--c", "--npz")
    return workspace


@pytest.fixture(scope="module")
def predicted(continued, scans):
    """The first model's prediction with probabilities, by worker processes."""
    words = prediction(continued, scans, continued.folder / "predicted", "-npp", 1, "-nps", 1)
    continued.run(*words, "--save_probabilities")
    return continued.folder / "predicted"


@pytest.fixture(scope="module")
def trained(continued, scans):
    """The first model validated again, all others trained and validated; predictions, and the best of the twins."""
    workspace = continued
    validation = workspace.model(RECA, "3d_fullres") / "fold_0" / "validation"
    workspace.first_validation = json.loads((validation / "summary.json").read_text())
    shutil.rmtree(validation)
    twins = ((SA, "3d_fullres"), (RECA, "2d"), (SA, "2d"))
    still = workspace.folder / "still"
    commands = [
        workspace.training(RECA, "3d_fullres", "--val", "--npz"),
        *(workspace.training(*model, "--npz") for model in twins),
        ("nnUNetv2_find_best_configuration", 4, "-tr", RECA, SA, "-c", *CONFIGURATIONS, "-f", 0),
        prediction(workspace, scans, still, "--disable_tta", "--save_probabilities"),
    ]
    for network, configuration in OTHERS:
        trainer = f"nnUNetTrainer{network}Reca_tiny_1epochs"
        commands.append(workspace.training(trainer, configuration))
        output = workspace.folder / network
        commands.append(prediction(workspace, scans, output, "--disable_tta", model=(trainer, configuration)))
    workspace.log_of_validation, *_ = workspace.run_all(*commands)
    return workspace


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Unseen scans: one as it is, one larger than the patch with an oblique geometry."""
    folder = tmp_path_factory.mktemp("scans")
    first, second = sorted((EXAMPLE / "imagesTs").iterdir())[:2]
    shutil.copy(first, folder / "plain_0000.nii.gz")
    large = sitk.GetImageFromArray(np.tile(sitk.GetArrayFromImage(sitk.ReadImage(str(second))), (2, 1, 1)))
    large.SetSpacing((0.9, 1.1, 1.0))
    large.SetOrigin((-31.5, 17.25, 4.0))
    large.SetDirection((0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    sitk.WriteImage(large, str(folder / "large_0000.nii.gz"))
    return folder


def prediction(workspace, scans, output, *options, model=(RECA, "3d_fullres")):
    """The command that predicts the scans with fold 0."""
    return workspace.prediction(output, *model, "-f", 0, *options, scans=scans)


def read(file: Path) -> sitk.Image:
    return sitk.ReadImage(str(file))


def test_killed_training_continues_where_it_was(continued):
    log = continued.log
    assert "Epoch 0\n" not in log and f"Epoch {EPOCHS - 1}\n" in log
    checkpoint = torch.load(
        continued.model(RECA, "3d_fullres") / "fold_0" / "checkpoint_final.pth", weights_only=False, map_location="cpu"
    )
    assert checkpoint["current_epoch"] == EPOCHS and checkpoint["trainer_name"] == RECA
    assert len(checkpoint["logging"]["train_losses"]) == EPOCHS
    assert re.search(r": Peak memory on cpu: \d+\.\d\d GiB", log)


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
@pytest.mark.parametrize("trainer", [RECA, SA])
def test_validation_holds_a_dice_for_every_label_of_every_held_out_case(trained, trainer, configuration):
    fold = trained.model(trainer, configuration) / "fold_0"
    summary = json.loads((fold / "validation" / "summary.json").read_text())
    held_out = json.loads((trained.folder / "preprocessed" / NAME / "splits_final.json").read_text())[0]["val"]
    files = {Path(c["prediction_file"]).name.split(".")[0]: c["metrics"] for c in summary["metric_per_case"]}
    assert set(files) == set(held_out)
    for case, metrics in files.items():
        assert (fold / "validation" / f"{case}.npz").exists()
        assert set(metrics) == {"1", "2"} and all(0 <= m["Dice"] <= 1 for m in metrics.values())


def test_saved_plan_names_the_network_and_both_twins_differ_only_in_the_switch(trained):
    architectures = []
    for trainer in (RECA, SA):
        plans = json.loads((trained.model(trainer, "3d_fullres") / "plans.json").read_text())
        architectures.append(plans["configurations"]["3d_fullres"]["architecture"])
        assert architectures[-1]["network_class_name"] == "nnunet_reca.architectures.swin_unetr.SwinUNETR"
    switches = [a["arch_kwargs"].pop("carry") for a in architectures]
    assert switches == ["sum", "none"] and architectures[0] == architectures[1]


def test_prediction_keeps_each_scans_geometry_and_holds_only_known_labels(predicted, scans):
    for name in ("plain", "large"):
        scan, segmentation = read(scans / f"{name}_0000.nii.gz"), read(predicted / f"{name}.nii.gz")
        assert segmentation.GetSize() == scan.GetSize()
        for property_ in ("GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(segmentation, property_)() == pytest.approx(getattr(scan, property_)(), abs=1e-5)
        assert set(np.unique(sitk.GetArrayFromImage(segmentation))) <= {0, 1, 2}


def test_tiles_and_mirroring_change_a_large_scans_probabilities(trained, predicted, scans):
    folders = {"plain": predicted, "still": trained.folder / "still"}
    outputs = {name: np.load(folder / "large.npz")["probabilities"] for name, folder in folders.items()}
    scan = sitk.GetArrayFromImage(read(scans / "large_0000.nii.gz"))
    assert outputs["plain"].shape == (3, *scan.shape)
    np.testing.assert_allclose(outputs["plain"].sum(0), 1, atol=2e-3)
    assert np.abs(outputs["plain"] - outputs["still"]).max() > 1e-4


def test_validation_alone_repeats_the_validation(trained):
    assert "predicting" in trained.log_of_validation and "Epoch" not in trained.log_of_validation
    summary = trained.model(RECA, "3d_fullres") / "fold_0" / "validation" / "summary.json"
    dice = trained.first_validation["foreground_mean"]["Dice"]
    assert json.loads(summary.read_text())["foreground_mean"]["Dice"] == pytest.approx(dice, abs=1e-6)


@pytest.fixture(scope="module")
def best(trained):
    return json.loads((trained.folder / "results" / NAME / "inference_information.json").read_text())


def test_best_configuration_compares_all_models_and_their_ensembles(best):
    names = set(best["all_results"])
    single = {n for n in names if not n.startswith("ensemble")}
    assert len(single) == 4 and len(names) > 4
    assert {n.split("__")[0] for n in single} == {RECA, SA}
    assert all(0 <= dice <= 1 for dice in best["all_results"].values())
    chosen = best["best_model_or_ensemble"]["selected_model_or_models"]
    assert all(m["trainer"] in (RECA, SA) and m["configuration"] in CONFIGURATIONS for m in chosen)


def test_postprocessing_of_the_best_configuration_applies(trained, best, predicted):
    chosen = best["best_model_or_ensemble"]
    target = trained.folder / "postprocessed"
    words = ("nnUNetv2_apply_postprocessing", "-i", predicted, "-o", target, "-np", 1)
    files = ("-pp_pkl_file", chosen["postprocessing_file"], "-plans_json", chosen["some_plans_file"])
    trained.run_all((*words, *files, "-dataset_json", trained.model(RECA, "3d_fullres") / "dataset.json"))
    assert pickle.loads(Path(chosen["postprocessing_file"]).read_bytes())
    for name in ("plain", "large"):
        before, after = read(predicted / f"{name}.nii.gz"), read(target / f"{name}.nii.gz")
        assert before.GetSize() == after.GetSize() and before.GetOrigin() == after.GetOrigin()


def test_exported_model_predicts_the_same_elsewhere_without_preprocessed_data(trained, scans, tmp_path):
    archive = tmp_path / "model.zip"
    words = ("nnUNetv2_export_model_to_zip", "-d", 4, "-o", archive, "-c", "3d_fullres", "-f", 0, "-tr", RECA)
    trained.run_all((*words, "--not_strict"))
    elsewhere = tmp_path / "results"
    elsewhere.mkdir()
    variables = {"nnUNet_results": str(elsewhere), "nnUNet_raw": "", "nnUNet_preprocessed": ""}
    output = tmp_path / "out"
    trained.run_all(
        ("nnUNetv2_install_pretrained_model_from_zip", archive),
        prediction(trained, scans, output, "--disable_tta"),
        **variables,
    )
    for name in ("plain", "large"):
        first, second = (sitk.GetArrayFromImage(read(f / f"{name}.nii.gz")) for f in (trained.folder / "still", output))
        assert np.array_equal(first, second)


@pytest.mark.parametrize(("network", "configuration"), OTHERS)
def test_every_other_network_trains_validates_and_predicts(trained, scans, network, configuration):
    model = trained.model(f"nnUNetTrainer{network}Reca_tiny_1epochs", configuration)
    validation = json.loads((model / "fold_0" / "validation" / "summary.json").read_text())
    assert 0 <= validation["foreground_mean"]["Dice"] <= 1
    for name in ("plain", "large"):
        scan, segmentation = read(scans / f"{name}_0000.nii.gz"), read(trained.folder / network / f"{name}.nii.gz")
        assert segmentation.GetSize() == scan.GetSize()
        assert segmentation.GetDirection() == pytest.approx(scan.GetDirection(), abs=1e-5)


def test_2d_network_asked_for_3d_names_the_configuration_to_use(workspace):
    words = ("nnUNetv2_train", 4, "3d_fullres", 0, "-tr", "nnUNetTrainerDATransUnetReca_tiny", "-device", "cpu")
    failed = subprocess.run(workspace.command(*words), env=workspace.environment, capture_output=True, text=True)
    assert failed.returncode != 0
    assert "expected a 2D configuration for DATransUnet, got 3d_fullres" in failed.stderr
    assert "use the configuration 2d" in failed.stderr


def test_wrong_trainer_option_stops_at_once_and_leaves_results_alone(trained):
    fold = trained.model(RECA, "3d_fullres") / "fold_0"
    before = {p: p.stat().st_mtime_ns for p in fold.rglob("*")}
    start = time.time()
    words = ("nnUNetv2_train", 4, "3d_fullres", 0, "-tr", RECA.replace("_tiny", "_huge"), "-device", "cpu")
    failed = subprocess.run(trained.command(*words), env=trained.environment, capture_output=True, text=True)
    assert failed.returncode != 0
    assert "expected a trainer name of the form nnUNetTrainer<" in failed.stderr
    assert "Epoch" not in failed.stdout
    assert time.time() - start < 120
    assert {p: p.stat().st_mtime_ns for p in fold.rglob("*")} == before

import json

import pytest
from support.results_factory import END, epoch_text, two_models

from nnunet_reca.results.files import ModelName, name_in_path
from nnunet_reca.results.problems import Problems
from nnunet_reca.results.validation import FINAL, read_validation, remarks

LOG = "training_log_2026_1_1_00_00_00.txt"


@pytest.fixture
def fold(folders):
    """A trained and validated fold of two cases."""
    return two_models(folders, folds=1, cases=2).results / "nnUNetTrainerA__nnUNetPlans__3d_fullres" / "fold_0"


def read(fold):
    return read_validation(fold, {"Liver": 1, "Spleen": 2}, ".nii.gz", "nnUNetv2_train ...")


@pytest.mark.parametrize(
    "parent",
    [
        "/home/me/results/",
        "C:\\Users\\me\\results\\",
        "C:/Users/me/results\\validation/",
        "\\\\server\\share\\a b\\",
        "..\\results\\",
        "",
    ],
)
def test_only_the_names_of_predictions_count_whatever_system_wrote_their_paths(fold, parent):
    summary = fold / "validation" / "summary.json"
    content = json.loads(summary.read_text())
    before = read(fold)
    for entry in content["metric_per_case"]:
        entry["prediction_file"] = parent + name_in_path(entry["prediction_file"])
        entry["reference_file"] = parent + name_in_path(entry["reference_file"])
    summary.write_text(json.dumps(content))
    assert read(fold) == before and set(before) == {"case_00", "case_01"}


def test_a_validation_needs_no_checkpoint_and_no_log(fold):
    before = read(fold)
    assert remarks(fold) == []
    (fold / FINAL).unlink()
    (fold / LOG).unlink()
    assert read(fold) == before
    missing, log = remarks(fold)
    assert "no checkpoint_final.pth, only the validation; it was deleted or not copied" in missing
    assert "no training log" in log


def test_a_training_that_may_go_on_is_told_from_a_deleted_checkpoint(fold):
    (fold / FINAL).rename(fold / "checkpoint_latest.pth")
    (remark,) = remarks(fold)
    assert "a training may go on, and the validation be that of an earlier one" in remark


def test_without_a_validation_it_is_said_whether_training_or_validation_is_missing(fold):
    (fold / "validation" / "summary.json").unlink()
    with pytest.raises(Problems, match="not validated, .* --val"):
        read(fold)
    (fold / FINAL).unlink()
    with pytest.raises(Problems, match=r"unfinished \(its log ends in epoch 2\), and .*go on with .* --c"):
        read(fold)


@pytest.mark.parametrize(
    ("text", "remark"),
    [
        (epoch_text(500) + epoch_text(501) + END, "its logs begin in epoch 500"),
        (epoch_text(0) + epoch_text(1), "its logs end in epoch 1 without the end of a training"),
        (epoch_text(0) + END + epoch_text(0), "its logs end in epoch 0 without the end of a training"),
        ("", "there is no training log"),
    ],
)
def test_logs_that_are_rotated_or_of_an_earlier_start_are_a_remark(fold, text, remark):
    (fold / LOG).write_text(text)
    (found,) = remarks(fold)
    assert found.startswith(remark)


def test_a_log_of_the_validation_alone_is_no_earlier_start(fold):
    (fold / "training_log_2026_1_2_00_00_00.txt").write_text("2026-01-02 00:00:00.0: predicting case_00 \n")
    assert remarks(fold) == []


def test_a_models_name_keeps_its_parts_whatever_they_hold():
    name = ModelName("nnUNetTrainer", "ptPlans__MY_NAME", "3d_fullres")
    assert str(name) == "nnUNetTrainer__ptPlans__MY_NAME__3d_fullres" and name.plans == "ptPlans__MY_NAME"


def test_a_prediction_that_is_missing_is_named(fold):
    (fold / "validation" / "case_01.nii.gz").unlink()
    with pytest.raises(Problems, match="prediction .*case_01.nii.gz is missing"):
        read(fold)

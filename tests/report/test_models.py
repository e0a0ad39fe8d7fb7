import json
import shutil

import pytest
from support.results_factory import blobs, epoch_text, shifted, two_models

from nnunet_reca.report.models import agree, asked_for, find_models
from nnunet_reca.results.files import ModelName
from nnunet_reca.results.problems import Problems

A, B, C, D = (ModelName(f"nnUNetTrainer{name}", "nnUNetPlans", "3d_fullres") for name in "ABCD")


def find(results, *names, folds=("0", "1")):
    return find_models(results.results, names or (A, B), folds, "999")


def fold(results, name, number):
    return results.results / str(name) / f"fold_{number}"


def test_models_are_read_with_their_labels_cases_and_nnunets_dice(folders):
    results = two_models(folders)
    first, second = find(results)
    assert str(first.name) == "nnUNetTrainerA__nnUNetPlans__3d_fullres"
    assert dict(first.labels.regions) == {"Liver": 1, "Spleen": 2}
    assert set(first.validations) == {(str(f), f"case_{f}{n}") for f in range(2) for n in range(4)}
    summary = json.loads((fold(results, B, 1) / "validation" / "summary.json").read_text())
    theirs = {entry["prediction_file"]: entry["metrics"] for entry in summary["metric_per_case"]}
    for key, validation in second.validations.items():
        if key[0] == "1":
            assert validation.dice["Spleen"] == theirs[str(validation.prediction)]["2"]["Dice"]


def test_every_problem_of_every_model_is_named_in_one_error(folders):
    results = two_models(folders, folds=4)
    shutil.rmtree(fold(results, A, 0))
    (fold(results, A, 1) / "checkpoint_final.pth").unlink()
    shutil.rmtree(fold(results, A, 1) / "validation")
    (fold(results, A, 1) / "training_log_2026_1_1_00_00_00.txt").write_text(epoch_text(0) + epoch_text(1))
    (fold(results, A, 2) / "validation" / "summary.json").unlink()
    (fold(results, B, 0) / "validation" / "case_02.nii.gz").unlink()
    (fold(results, B, 1) / "validation" / "summary.json").write_text("{")
    with pytest.raises(Problems) as caught:
        find(results, A, B, C, folds=("0", "1", "2", "3", "4"))
    problems = caught.value.problems
    a, b = A, B
    for text in (
        f"{a}, fold 0: not trained",
        f"{a}, fold 1: the training is unfinished (its log ends in epoch 1), and ",
        f"{a}, fold 2: not validated",
        f"{a}, fold 4: not trained",
        f"{b}, fold 0: prediction {fold(results, B, 0) / 'validation' / 'case_02.nii.gz'} is missing",
        f"{b}, fold 1: {fold(results, B, 1) / 'validation' / 'summary.json'} is not a summary",
        f"{b}, fold 4: not trained",
        "nnUNetTrainerC__nnUNetPlans__3d_fullres: no folder",
    ):
        assert sum(problem.startswith(text) for problem in problems) == 1, (text, problems)
    assert len(problems) == 8 and all(problem in str(caught.value) for problem in problems)


def test_a_missing_model_names_the_ones_that_are_there(folders):
    with pytest.raises(Problems, match="choose among: nnUNetTrainerA__.*, nnUNetTrainerB__"):
        find(two_models(folders), C, A)


@pytest.mark.parametrize(
    "content", ["[]", '{"metric_per_case": [{"prediction_file": "a.nii.gz", "metrics": {"7": {}}}]}']
)
def test_a_summary_of_other_labels_is_named(folders, content):
    results = two_models(folders)
    (fold(results, A, 0) / "validation" / "summary.json").write_text(content)
    with pytest.raises(Problems, match="fold 0: .*is not a summary of these labels"):
        find(results)


def test_regions_keep_their_names_and_values(folders):
    labels = {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}
    first, _ = find(two_models(folders, labels=labels, regions_class_order=[1, 2]))
    assert dict(first.labels.regions) == {"whole": (1, 2), "core": (2,)} and first.labels.ignore == 3


def test_other_cases_are_named_and_the_intersection_is_compared_only_if_asked(folders):
    results = two_models(folders, folds=1)
    results.reference("extra", blobs(77))
    predictions = {f"case_0{n}": shifted(blobs(n), 1) for n in (0, 1, 2)} | {"extra": blobs(77)}
    results.model("nnUNetTrainerC", {"0": predictions})
    models = find(results, A, C, folds=("0",))
    a, c = (m.name for m in models)
    with pytest.raises(Problems) as caught:
        agree(models)
    assert caught.value.problems[:2] == (
        f"fold 0: 1 case (case_03) validated with {a}, not with {c}",
        f"fold 0: 1 case (extra) validated with {c}, not with {a}",
    )
    assert "--intersection" in str(caught.value)
    common = agree(models, intersection=True)
    assert common.keys == (("0", "case_00"), ("0", "case_01"), ("0", "case_02"))
    assert common.left_out == caught.value.problems[:2]


def test_the_same_case_in_another_fold_is_not_the_same_validation(folders):
    results = two_models(folders, folds=1, cases=2)
    case = {"case_00": blobs(0)}, {"case_01": blobs(1)}
    results.model("nnUNetTrainerC", {"0": case[1], "1": case[0]})
    results.model("nnUNetTrainerD", {"0": case[0], "1": case[1]})
    models = find(results, C, D)
    with pytest.raises(Problems, match="nothing is common"):
        agree(models, intersection=True)


def test_other_labels_are_named(folders):
    results = two_models(folders, folds=1)
    renamed = {"background": 0, "Liver": 1, "Kidney": 2}
    results.model("nnUNetTrainerC", {"0": {f"case_0{n}": blobs(n) for n in range(4)}}, labels=renamed)
    models = find(results, A, C, folds=("0",))
    with pytest.raises(Problems) as caught:
        agree(models)
    text = str(caught.value)
    assert "label Spleen: 2 in" in text and "label Kidney: not there in" in text
    assert agree(models, intersection=True).regions == {"Liver": 1}


def test_another_ignore_label_cannot_be_compared_even_if_asked(folders):
    results = two_models(folders, folds=1)
    labels = results.dataset_json["labels"] | {"ignore": 3}
    results.model("nnUNetTrainerC", {"0": {f"case_0{n}": blobs(n) for n in range(4)}}, labels=labels)
    with pytest.raises(Problems, match="ignore label: None in .*, 3 in"):
        agree(find(results, A, C, folds=("0",)), intersection=True)


def test_models_are_every_combination_or_named_one_by_one():
    assert asked_for(["A"], ["2d", "3d_fullres"], ["P", "Q"]) == [
        ("A", p, c) for c in ("2d", "3d_fullres") for p in ("P", "Q")
    ]
    assert asked_for(["A", "B__Q__2d"], ["3d_fullres"], ["P"]) == [("A", "P", "3d_fullres"), ("B", "Q", "2d")]
    for trainers, message in (
        (["A"], "at least two models"),
        (["A", "A"], "every model once"),
        (["A__P"], "TRAINER__"),
    ):
        with pytest.raises(ValueError, match=message):
            asked_for(trainers, ["2d"], ["P"])

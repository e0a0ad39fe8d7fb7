import pytest

from nnunet_reca.report.naming import FOLDS, report_name
from nnunet_reca.report.runs import models_of, runs_of, seed_name
from nnunet_reca.results.files import ModelName


def names(*trainers, plans="nnUNetPlans"):
    return [ModelName(f"nnUNetTrainer{trainer}", plans, "3d_fullres") for trainer in trainers]


def grouped(*trainers):
    """Seeds by trainer without prefix."""
    groups = models_of(list(runs_of(names(*trainers)).values()))
    return {
        name.split("__")[0].removeprefix("nnUNetTrainer"): [run.seed for run in runs] for name, runs in groups.items()
    }


def test_models_that_differ_only_in_the_seed_are_runs_of_one_model():
    found = grouped("SwinUNETR_seed0", "SwinUNETR_seed12", "SwinUNETRReca_seed0", "NnFormer")
    assert found == {"SwinUNETR": ["0", "12"], "SwinUNETRReca": ["0"], "NnFormer": [""]}


def test_a_seed_is_found_wherever_the_grammar_has_it_and_in_trainers_of_others():
    found = grouped(
        "X_tiny_bf16_seed3_50epochs", "X_tiny_bf16_seed4_50epochs", "X_tiny_bf16_seed3_5epochs", "Mine_seed1"
    )
    assert found == {"X_tiny_bf16_50epochs": ["3", "4"], "X_tiny_bf16_5epochs": ["3"], "Mine": ["1"]}


def test_a_training_without_a_seed_in_its_name_is_a_run_of_the_model():
    assert grouped("X", "X_seed1", "Y") == {"X": ["", "1"], "Y": [""]}
    assert (seed_name(""), seed_name("1")) == ("no seed", "seed 1")


@pytest.mark.parametrize("trainer", ["X_seedling", "X_seed", "X_seed01", "X_seeds3", "X_myseed3", "Xseed3"])
def test_what_only_looks_like_a_seed_is_part_of_the_name(trainer):
    assert grouped(trainer, "Y_seed0") == {trainer: [""], "Y": ["0"]}


def test_plans_and_configurations_tell_models_apart():
    both = [*names("X_seed0", "X_seed1"), *names("X_seed0", plans="other")]
    assert [len(runs) for runs in models_of(list(runs_of(both).values())).values()] == [2, 1]


def test_runs_of_a_single_model_are_compared_with_each_other():
    assert grouped("X_seed0", "X_seed1") == {"X_seed0": [""], "X_seed1": [""]}
    assert grouped("X", "X_seed1") == {"X": [""], "X_seed1": [""]}


@pytest.mark.parametrize(
    ("trainers", "name"),
    [
        (("A_seed0", "A_seed1", "B_seed0", "B_seed1"), "A_vs_B_seeds_0_1"),
        (("A_seed0", "A_seed1", "B"), "A-seeds_0_1_vs_B"),
        (("A_seed0", "B_seed0"), "A_vs_B_seed_0"),
        (("A", "A_seed1", "B"), "A-seeds_none_1_vs_B"),
        (("A_seed0", "A_seed1"), "A_seed0_vs_A_seed1"),
    ],
)
def test_a_reports_default_name_tells_the_seeds(trainers, name):
    runs = list(runs_of(names(*trainers)).values())
    assert report_name(runs, FOLDS) == f"reca_comparison_{name}"

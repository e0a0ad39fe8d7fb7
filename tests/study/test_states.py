"""How far jobs are, by what nnU-Net left."""

import json
import os
import zipfile

import pytest
from support.fake_nnunet import CASES, DATASET
from support.plan_factory import HIPPOCAMPUS_3D

from nnunet_reca.study.jobs import Job, all_jobs
from nnunet_reca.study.locks import grasp
from nnunet_reca.study.spec import study_of
from nnunet_reca.study.states import DONE, RUNNING, STALE, STARTED, TO_DO, lock_file, state_of

TRAINER = "nnUNetTrainerSwinUNETRReca_tiny_5epochs"
TRAINING = Job("train", DATASET, TRAINER, "nnUNetPlans", "3d_fullres", "0")


@pytest.fixture
def planned(nnunet):
    nnunet.plan()
    return nnunet


def state(nnunet, job=TRAINING, **entries):
    study = study_of({"datasets": [DATASET], "trainers": [TRAINER], **entries})
    return state_of(study, nnunet.study, job)


def checkpoint(file):
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("weights", "1" * 99)


def trained(nnunet, **changes):
    """A finished and validated training, with plans like ours: the network is the trainer's own."""
    fold = nnunet.fold(TRAINER)
    checkpoint(fold / "checkpoint_final.pth")
    plans = json.loads((nnunet.preprocessed / "nnUNetPlans.json").read_text())
    configuration = plans["configurations"]["3d_fullres"]
    configuration |= {"planned_architecture": configuration["architecture"], "architecture": {"ours": 1}, **changes}
    (fold.parent / "plans.json").write_text(json.dumps(plans))
    (fold / "validation").mkdir()
    entries = [{"prediction_file": f"C:\\there\\{case}.nii.gz"} for case in CASES[:2]]
    (fold / "validation" / "summary.json").write_text(json.dumps({"metric_per_case": entries}))
    return fold


def test_a_training_goes_from_to_do_over_its_epochs_and_validation_to_done(planned):
    fold = planned.fold(TRAINER)
    assert state(planned).name == TO_DO
    fold.mkdir(parents=True)
    assert state(planned).name == TO_DO
    (fold / "training_log_1.txt").write_text("2026: Epoch 0\n2026: Epoch 1\n")
    assert (state(planned).name, state(planned).why) == (STARTED, "epoch 1")
    checkpoint(fold / "checkpoint_latest.pth")
    checkpoint(fold / "checkpoint_final.pth")
    assert (state(planned).name, state(planned).why) == (STARTED, "trained, not validated")
    trained(planned)
    assert state(planned).name == DONE


def test_a_final_checkpoint_that_a_kill_tore_is_not_the_end_of_a_training(planned):
    final = trained(planned) / "checkpoint_final.pth"
    final.write_bytes(final.read_bytes()[:-30])
    assert state(planned).name == STARTED


def test_half_a_summary_is_no_validation(planned):
    summary = trained(planned) / "validation" / "summary.json"
    summary.write_text(summary.read_text()[:-9])
    assert (state(planned).name, state(planned).why) == (STARTED, "trained, not validated")


def test_probabilities_count_only_where_ensembles_need_them(planned):
    fold = trained(planned)
    assert state(planned).name == DONE
    assert state(planned, ensembles=True).why == "validated without probabilities"
    for case in CASES[:2]:
        (fold / "validation" / f"{case}.npz").touch()
    assert state(planned, ensembles=True).name == DONE


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"patch_size": [8, 8, 8]}, "patch_size"),
        ({"batch_size": 3}, "batch_size"),
        ({"planned_architecture": {"network_class_name": "other"}}, "architecture"),
        ({"architecture": {"network_class_name": "the trainer's own"}}, ""),
    ],
)
def test_a_training_with_other_plans_is_told_from_one_whose_trainer_chose_its_network(planned, changes, why):
    trained(planned, **changes)
    found = state(planned)
    assert found.name == (STALE if why else DONE) and why in found.why


def test_a_locked_training_runs_and_no_longer_when_its_holder_is_gone(planned):
    holder = grasp(lock_file(planned.study, TRAINING))
    assert state(planned).name == RUNNING
    os.close(holder)
    assert state(planned).name == TO_DO


def test_an_earlier_stage_is_done_only_with_its_predictions_for_the_cascade(planned):
    low = HIPPOCAMPUS_3D | {"next_stage": "3d_cascade_fullres"}
    cascade = {"inherits_from": "3d_lowres", "previous_stage": "3d_lowres"}
    planned.write_plans(**{"3d_lowres": low, "3d_fullres": low, "3d_cascade_fullres": cascade})
    planned.plan()
    fold = trained(planned)
    stage = Job("train", DATASET, TRAINER, "nnUNetPlans", "3d_lowres", "0")
    fold.parent.rename(planned.fold(TRAINER, configuration="3d_lowres").parent)
    wanted = {"configurations": ["3d_cascade_fullres"]}
    assert state(planned, stage, configurations=["3d_lowres"]).name == DONE
    assert state(planned, stage, **wanted).why == "no predictions for 3d_cascade_fullres"
    handed = planned.fold(TRAINER, configuration="3d_lowres").parent / "predicted_next_stage" / "3d_cascade_fullres"
    handed.mkdir(parents=True)
    for case in CASES[:2]:
        (handed / f"{case}.b2nd").touch()
    assert state(planned, stage, **wanted).name == DONE


def test_preprocessing_lacks_what_one_case_lacks(planned):
    job = Job("preprocess", DATASET, plans="nnUNetPlans", configuration="3d_fullres")
    assert state(planned, job).name == DONE
    (planned.preprocessed / "nnUNetPlans_3d_fullres" / f"{CASES[3]}.pkl").unlink()
    assert (state(planned, job).name, state(planned, job).why) == (STARTED, "9 of 10 cases")


def test_states_of_a_study_that_never_ran_touch_nothing(nnunet):
    before = sorted(nnunet.folder.rglob("*"))
    study = study_of({"datasets": [DATASET], "trainers": [TRAINER]})
    assert {state_of(study, nnunet.study, job).name for job in all_jobs(study)} == {TO_DO}
    assert sorted(nnunet.folder.rglob("*")) == before

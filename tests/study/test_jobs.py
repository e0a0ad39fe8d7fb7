"""Which jobs a study makes, and what waits for what."""

import pytest
from support.fake_nnunet import DATASET
from support.plan_factory import HIPPOCAMPUS_3D

from nnunet_reca.study.jobs import (
    Job,
    all_jobs,
    all_trainers,
    epochs_of,
    job_of,
    needs,
    trainings,
)
from nnunet_reca.study.spec import study_of
from nnunet_reca.trainers.seeds import with_seed

RECA, SA = "nnUNetTrainerSwinUNETRReca_tiny_5epochs", "nnUNetTrainerSwinUNETR"


def study(**entries):
    return study_of({"datasets": [DATASET], "trainers": [RECA, SA, "nnUNetTrainer"], **entries})


def test_only_trainers_that_take_a_seed_get_one(nnunet):
    wanted = [with_seed(RECA, 0), with_seed(RECA, 3), f"{SA}_seed0", f"{SA}_seed3", "nnUNetTrainer"]
    assert all_trainers(study(seeds=[0, 3])) == wanted
    assert all_trainers(study(seeds=[0], trainers=["nnUNetTrainerSwinUNETRReca_mine"])) == [
        "nnUNetTrainerSwinUNETRReca_mine"
    ]
    assert all_trainers(study()) == [RECA, SA, "nnUNetTrainer"]


def test_epochs_are_those_of_the_name():
    assert epochs_of(with_seed(RECA, 1)) == 5 and epochs_of(SA) == 1000 and epochs_of("nnUNetTrainer_250epochs") == 250


def test_every_job_comes_after_those_it_waits_for_and_is_found_by_its_record(nnunet):
    plan = study(seeds=[0, 1], folds=[0, 1], configurations=["2d", "3d_cascade_fullres"])
    jobs = all_jobs(plan)
    assert len({job.record for job in jobs}) == len({job.log for job in jobs}) == len(jobs)
    for i, job in enumerate(jobs):
        assert job_of(job.record) == job
        waits = needs(plan, job)
        same = [other for other in waits if other.kind == job.kind]  # a cascade's earlier stage
        assert all(other in jobs for other in waits) and set(waits) - set(same) <= set(jobs[:i])


def test_a_cascade_waits_for_all_folds_of_its_stage_with_the_same_trainer_and_seed(nnunet):
    plan = study(seeds=[4], folds=[0], configurations=["3d_cascade_fullres"], trainers=[RECA])
    (training,) = trainings(plan, DATASET)
    stages = [job for job in needs(plan, training) if job.kind == "train"]
    assert [job.fold for job in stages] == ["0", "1", "2", "3", "4"]
    assert {(job.trainer, job.configuration) for job in stages} == {(with_seed(RECA, 4), "3d_lowres")}
    assert sum(job.kind == "train" for job in all_jobs(plan)) == 6


def test_a_cascade_of_the_plans_own_waits_for_the_stage_that_the_plans_name(nnunet):
    small = HIPPOCAMPUS_3D | {"next_stage": "after"}
    nnunet.write_plans(small=small, after={"inherits_from": "small", "previous_stage": "small"})
    nnunet.plan()
    plan = study(configurations=["after"], trainers=[RECA])
    stages = {j.configuration for j in needs(plan, next(trainings(plan, DATASET))) if j.kind == "train"}
    assert stages == {"small"}


def test_test_scans_are_predicted_and_evaluated_where_there_are_any(nnunet):
    def last(**entries):
        return [job.kind for job in all_jobs(study(**entries))][-3:]

    assert "predict" not in last()
    (nnunet.raw / "imagesTs").mkdir()
    (nnunet.raw / "imagesTs" / "a_0000.nii.gz").touch()
    assert last() == ["best", "predict", "compare"]
    (nnunet.raw / "labelsTs").mkdir()
    (nnunet.raw / "labelsTs" / "a.nii.gz").touch()
    assert last() == ["predict", "evaluate", "compare"]
    assert last(trainers=[SA]) == ["best", "predict", "evaluate"]  # one model has nothing to compare with


def test_a_path_of_no_record_is_refused():
    with pytest.raises(ValueError, match="expected the path of a record"):
        job_of("records/somewhere/else/file.json")
    assert job_of("records/D/plan/P.json") == Job("plan", "D", plans="P")

"""What stands around a job: locks, checkpoints, devices, records, and what a kill leaves."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile

import pytest
from support.fake_nnunet import DATASET

from nnunet_reca.study.guard import LOCAL, place
from nnunet_reca.study.jobs import Job
from nnunet_reca.study.locks import held
from nnunet_reca.study.spec import FILE, study_of, text_of

pytest.importorskip("yaml")
TRAINER = "nnUNetTrainerSwinUNETR"


def job(fold=0, trainer=TRAINER):
    return Job("train", DATASET, trainer, "nnUNetPlans", "3d_fullres", str(fold))


class Study:
    """A planned study's folder, and its guards."""

    def __init__(self, nnunet, name="study", **entries):
        nnunet.plan()
        self.folder = nnunet.folder / name
        self.folder.mkdir()
        (self.folder / FILE).write_text(
            text_of(study_of({"datasets": [DATASET], "trainers": [TRAINER], "device": "cpu", **entries}))
        )

    def start(self, job, **variables):
        train = ["nnUNetv2_train", DATASET, job.configuration, job.fold, "-tr", job.trainer, "-p", job.plans, "--c"]
        return subprocess.Popen(
            [sys.executable, "-m", "nnunet_reca.study.guard", job.record, "--threads", "4", "--", *train],
            cwd=self.folder,
            env={**os.environ, **variables},
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, job, **variables):
        guard = self.start(job, **variables)
        _, said = guard.communicate(timeout=60)
        return guard.returncode, said

    def log(self, job):
        file = self.folder / job.log
        return file.read_text() if file.exists() else ""

    def record(self, job):
        file = self.folder / job.record
        return json.loads(file.read_text()) if file.exists() else None


def wait_until(condition, seconds=120):
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, "waited in vain"
        time.sleep(0.05)


def test_a_killed_training_goes_on_from_its_checkpoint_and_a_finished_one_is_left_alone(nnunet):
    study, training = Study(nnunet), job()
    (nnunet.control / f"{TRAINER}_0").write_text("die")
    status, said = study.run(training)
    assert (status, "ended with SIGKILL" in said) == (128 + signal.SIGKILL, True), said
    assert study.record(training) is None
    assert study.run(training)[0] == 0
    logs = "".join(file.read_text() for file in sorted(nnunet.fold(TRAINER).glob("*.txt")))
    assert [line for line in logs.splitlines() if "Epoch 0" in line or "Epoch 2" in line] == [
        "2026: Epoch 0",
        "2026: Epoch 2",
    ]
    assert study.record(training)["command"][-1] == "--c"
    before, calls = nnunet.finished(), len(nnunet.calls())
    other = Study(nnunet, "other")  # shares the training
    assert other.run(training)[0] == 0 and other.record(training)["command"] == []
    assert nnunet.finished() == before and len(nnunet.calls()) == calls
    assert "nothing was run" in other.log(training)


def test_a_torn_checkpoint_is_put_aside_and_the_next_best_taken(nnunet):
    study, fold = Study(nnunet), nnunet.fold(TRAINER)
    fold.mkdir(parents=True)
    (fold / "checkpoint_final.pth").write_bytes(b"PK\3\4 half of it")
    with zipfile.ZipFile(fold / "checkpoint_latest.pth", "w") as archive:
        archive.writestr("epoch", "3")
    assert study.run(job())[0] == 0
    assert (fold / "checkpoint_final.pth.torn").is_file() and zipfile.is_zipfile(fold / "checkpoint_final.pth")
    assert "Epoch 0" not in next(fold.glob("*.txt")).read_text()


def test_a_training_that_lacks_its_validation_is_only_validated(nnunet):
    study, fold = Study(nnunet), nnunet.fold(TRAINER)
    study.run(job())
    (fold / "validation" / "summary.json").unlink()
    final = fold / "checkpoint_final.pth"
    before = final.stat().st_mtime_ns
    assert study.run(job())[0] == 0
    assert study.record(job())["command"][-1] == "--val" and final.stat().st_mtime_ns == before


def test_two_studies_at_the_same_training_train_it_once(nnunet):
    first, second = Study(nnunet), Study(nnunet, "other")
    hold = nnunet.hold()
    guards = [study.start(job()) for study in (first, second)]
    wait_until(lambda: nnunet.calls("train") and any("waits: " in study.log(job()) for study in (first, second)))
    hold.unlink()
    assert [guard.wait(60) for guard in guards] == [0, 0]
    assert len(nnunet.calls("train")) == 1
    assert sorted(len(study.record(job())["command"]) > 0 for study in (first, second)) == [False, True]


def test_a_training_that_outlives_its_guard_is_waited_for(nnunet):
    study, hold = Study(nnunet), nnunet.hold()
    guard = study.start(job())
    wait_until(lambda: nnunet.calls("train"))
    guard.kill()
    guard.communicate()
    again = study.start(job())
    wait_until(lambda: "waits: another process has this in its hands" in study.log(job()))
    hold.unlink()
    assert again.wait(60) == 0 and len(nnunet.calls("train")) == 1


@pytest.mark.parametrize("fold", [0, 1], ids=["of the same training", "of one on the same GPU"])
def test_workers_that_outlive_a_training_and_its_guard_keep_nobody_waiting(nnunet, fold):
    study, order = Study(nnunet, device="cuda"), nnunet.control / f"{TRAINER}_0"
    local = {LOCAL: json.dumps({"place": place(), "gpus": ["0"], "slots": 1})}
    order.write_text("workers")
    hold, guard = nnunet.hold(), study.start(job(), **local)
    wait_until(lambda: not order.exists() and any(nnunet.fold(TRAINER).glob("*.txt")))
    (file,) = (nnunet.results / ".reca_study").glob("*.lock")
    training = json.loads(file.read_text())["group"]
    os.kill(guard.pid, signal.SIGKILL)
    os.kill(training, signal.SIGKILL)
    guard.wait()
    assert held(file)
    hold.unlink()
    assert study.run(job(fold), **local)[0] == 0  # which waits for locks, 60 seconds at most


def test_a_guard_that_is_told_to_end_ends_its_training(nnunet):
    study = Study(nnunet)
    guard = study.start(job(), FAKE_EPOCH="20")
    wait_until(lambda: any(nnunet.fold(TRAINER).glob("*.txt")))
    guard.terminate()
    _, said = guard.communicate(timeout=30)
    assert guard.returncode == 1 and "ended by SIGTERM" in said
    assert study.run(job(), FAKE_EPOCH="0")[0] == 0  # the lock is free again


def test_each_training_has_a_gpu_of_its_own_in_two_studies(nnunet):
    studies = [Study(nnunet, name, device="cuda") for name in ("first", "second")]
    local = {LOCAL: json.dumps({"place": place(), "gpus": ["2", "5"], "slots": 1}), "FAKE_EPOCH": "0.3"}
    local["OMP_NUM_THREADS"] = "4"  # Snakemake's, which each worker would take for itself
    guards = [study.start(job(fold), **local) for fold, study in enumerate([*studies, studies[0]])]
    assert [guard.wait(60) for guard in guards] == [0, 0, 0]
    calls = nnunet.calls("train")
    assert {call["CUDA_VISIBLE_DEVICES"] for call in calls[:2]} == {"2", "5"}
    assert calls[2]["time"] - calls[0]["time"] > 1  # waited for one of the two
    assert calls[0]["nnUNet_n_proc_DA"] == "3" and calls[0]["OMP_NUM_THREADS"] == "1"


def test_batch_jobs_keep_the_devices_that_their_cluster_gave_them(nnunet):
    elsewhere = json.dumps({"place": ["another machine"], "gpus": ["2"], "slots": 1})
    study = Study(nnunet, device="cuda")
    assert study.run(job(), **{LOCAL: elsewhere, "CUDA_VISIBLE_DEVICES": "7"})[0] == 0
    assert nnunet.calls("train")[0]["CUDA_VISIBLE_DEVICES"] == "7"


def test_data_are_not_preprocessed_anew_while_a_training_reads_them(nnunet):
    study, data = Study(nnunet), Job("preprocess", DATASET, plans="nnUNetPlans", configuration="3d_fullres")
    hold, training = nnunet.hold(), study.start(job())
    wait_until(lambda: nnunet.calls("train"))
    (nnunet.preprocessed / "nnUNetPlans_3d_fullres" / "case_3.pkl").unlink()  # so that there is something to do
    command = ["nnUNetv2_preprocess", "-d", "998", "-c", "3d_fullres"]
    words = [sys.executable, "-m", "nnunet_reca.study.guard", data.record, "--", *command]
    preprocessing = subprocess.Popen(words, cwd=study.folder)
    wait_until(lambda: "waits: " in study.log(data))
    assert not nnunet.calls("preprocess")
    hold.unlink()
    assert training.wait(60) == preprocessing.wait(60) == 0 and len(nnunet.calls("preprocess")) == 1


def test_trainings_with_other_plans_are_never_touched(nnunet):
    study = Study(nnunet)
    study.run(job())
    file = nnunet.preprocessed / "nnUNetPlans.json"
    file.write_text(file.read_text().replace("[40, 56, 40]", "[8, 8, 8]"))
    before = nnunet.finished()
    status, said = study.run(job())
    assert status == 1 and "trained with other plans: patch_size [40, 56, 40] -> [8, 8, 8]" in said
    assert nnunet.finished() == before and len(nnunet.calls("train")) == 1


def test_a_failed_command_shows_its_last_lines(nnunet):
    study = Study(nnunet)
    (nnunet.control / f"{TRAINER}_0").write_text("fail")
    status, said = study.run(job())
    assert status == 1 and "| RuntimeError: this training was told to fail" in said
    (failure,) = (study.folder / "failed").rglob("*.json")
    assert json.loads(failure.read_text())["attempts"] == 1

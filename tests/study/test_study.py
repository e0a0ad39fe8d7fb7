"""Whole studies through Snakemake, killed in every way, with commands that only pretend to train."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.fake_nnunet import DATASET

from nnunet_reca.study.locks import grasp

pytest.importorskip("snakemake")
TWINS = ("nnUNetTrainerSwinUNETR", "nnUNetTrainerSwinUNETRReca")
SMALL = ("-d", "998", "-tr", *TWINS, "-f", "0", "1", "--device", "cpu", "--cores", "4", "--threads", "1")


def start(nnunet, *words, **variables):
    command = [sys.executable, "-m", "nnunet_reca.cli.study", *words, "-o", str(nnunet.study)]
    return subprocess.Popen(
        command, env={**os.environ, **variables}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def run(nnunet, *words, status=0, **variables):
    process = start(nnunet, *words, **variables)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == status, said
    return said


def wait_until(condition, seconds=120):
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, "waited in vain"
        time.sleep(0.05)


def everything_of(nnunet):
    """Processes whose environment names this test's folders."""
    mark, found = f"FAKE_CONTROL={nnunet.control}".encode(), []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                environment, state = (entry / "environ").read_bytes(), (entry / "stat").read_text()
            except OSError:
                continue
            if mark in environment and state.rsplit(")", 1)[1].split()[0] != "Z":
                found.append(int(entry.name))
    return found


@pytest.fixture
def tested(nnunet):
    """With test scans and references."""
    for part, name in (("imagesTs", "a_0000"), ("labelsTs", "a")):
        (nnunet.raw / part).mkdir()
        (nnunet.raw / part / f"{name}.nii.gz").touch()
    return nnunet


def test_from_raw_data_to_the_page_then_on_with_one_more_seed_and_by_somebody_else(tested):
    said = run(tested, *SMALL, "--seeds", "0")
    page = tested.study / DATASET / "comparison" / "report.html"
    assert f"page: {page}" in said and "nnUNetTrainerSwinUNETRReca_seed0" in page.read_text()
    assert (tested.study / DATASET / "predictions" / "a.nii.gz").is_file()
    for name in ("inference_information.json", "inference_instructions.txt", "evaluation.json"):
        assert (tested.study / DATASET / name).is_file()
    before, calls = tested.finished(), len(tested.calls())

    assert "all 11 jobs are done" in run(tested, str(tested.study), "--cores", "4")
    assert len(tested.calls()) == calls

    said = run(tested, *SMALL, "--seeds", "0", "1")
    assert "changed: seeds: 0 -> 0 1" in said and re.search(r"repeats: compare .*: other trainers", said)
    again = [(call["name"], "_seed0" in " ".join(call["words"])) for call in tested.calls()[calls:]]
    assert ("nnUNetv2_train", True) not in again and sum(name == "nnUNetv2_train" for name, _ in again) == 4
    assert "nnUNetv2_preprocess" not in dict(again)
    assert before.items() <= tested.finished().items()

    theirs = tested.folder / "theirs"  # who gets study.yaml, and has the same results folder
    theirs.mkdir()
    shutil.copy(tested.study / "study.yaml", theirs)
    tested.study = theirs
    said = run(tested, str(theirs / "study.yaml"), "--dry-run")
    assert "15 jobs: 11 done, 4 to run" in said and list(theirs.iterdir()) == [theirs / "study.yaml"]


def test_a_killed_job_is_tried_again_and_a_failed_one_stops_only_what_needs_it(nnunet):
    nnunet.plan()
    (nnunet.control / f"{TWINS[0]}_1").write_text("fail")
    (nnunet.control / f"{TWINS[1]}_0").write_text("die")
    said = run(nnunet, *SMALL, "--retries", "1", status=1)
    assert "failed after 2 attempts: train Dataset998_Fake 3d_fullres fold 1 nnUNetTrainerSwinUNETR" in said
    assert "| RuntimeError: this training was told to fail" in said
    assert "not started: compare Dataset998_Fake: waits for train" in said
    assert len(nnunet.calls("train")) == 6 and "fold 0 nnUNetTrainerSwinUNETRReca:" not in said
    assert len(list(nnunet.results.glob("*/fold_*/validation/summary.json"))) == 3
    assert "3 of 9 jobs are not done; the same command goes on with them" in said
    status = run(nnunet, "status", str(nnunet.study))
    assert "failed after 2 attempts: train" in status and "9 jobs: 6 done, 3 to run" in status


def test_the_command_killed_and_called_again_follows_what_still_runs(nnunet):
    nnunet.plan()
    hold, first = nnunet.hold(), start(nnunet, *SMALL)
    wait_until(lambda: len(nnunet.calls("train")) == 4)
    first.kill()
    first.communicate()
    again = start(nnunet, *SMALL)
    assert "runs already; this follows it" in again.stdout.readline()
    hold.unlink()
    said, _ = again.communicate(timeout=120)
    assert again.returncode == 0 and "page: " in said
    assert len(nnunet.calls("train")) == 4


def test_everything_killed_twice_completes_and_leaves_finished_trainings_alone(nnunet):
    nnunet.plan()
    finished = {}
    words = ("--jobs", "2")
    small = [word for word in SMALL if word not in ("--cores", "4")]
    for number in (1, 3):
        process = start(nnunet, *small, *words, FAKE_EPOCH="0.4")
        wait_until(lambda n=number: len(list(nnunet.results.glob("*/fold_*/validation/summary.json"))) >= n)
        finished |= nnunet.finished()
        while left := everything_of(nnunet):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        process.communicate()
    said = run(nnunet, *small, *words)
    assert "page: " in said
    assert finished and finished.items() <= nnunet.finished().items()


def test_stopping_the_command_stops_its_jobs(nnunet):
    nnunet.plan()
    nnunet.hold()
    process = start(nnunet, *SMALL)
    wait_until(lambda: len(nnunet.calls("train")) == 4)
    process.terminate()
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "stopped; the same command goes on" in said
    wait_until(lambda: everything_of(nnunet) == [], 20)


def test_trainings_with_other_plans_are_repeated_only_when_told_to(nnunet):
    nnunet.plan()
    for trainer in TWINS:
        for fold in "01":  # by hand, not by a study
            command = ("nnUNetv2_train", DATASET, "3d_fullres", fold, "-tr", trainer, "-p", "nnUNetPlans")
            subprocess.run(command, check=True)
    file = nnunet.preprocessed / "nnUNetPlans.json"
    file.write_text(file.read_text().replace("[40, 56, 40]", "[48, 56, 40]"))
    calls, before = len(nnunet.calls()), nnunet.finished()
    said = run(nnunet, *SMALL, status=1)
    assert "trainings would be repeated" in said and said.count("trained with other plans: patch_size") == 4
    assert len(nnunet.calls()) == calls and nnunet.finished() == before
    lock = grasp(nnunet.results / ".reca_study" / f"{TWINS[0]}__nnUNetPlans__3d_fullres__fold_1.lock")
    assert "is running, with the plans of before" in run(nnunet, *SMALL, "--repeat_trainings", status=1)
    assert len(nnunet.calls()) == calls and nnunet.finished() == before
    os.close(lock)
    said = run(nnunet, *SMALL, "--repeat_trainings")
    assert "put aside: nnUNetTrainerSwinUNETR__nnUNetPlans__3d_fullres" in said and "page: " in said
    assert len(list((nnunet.results / "replaced").iterdir())) == 2 and len(nnunet.calls("train")) == 8


def test_a_dry_run_says_what_would_run_and_how_long_and_writes_nothing(nnunet):
    nnunet.plan()
    before = {file: file.stat().st_mtime_ns for file in nnunet.folder.rglob("*")}
    said = run(nnunet, *SMALL, "--dry-run")
    assert "9 jobs: 3 done, 6 to run; the time of 4 trainings is unknown" in said
    assert {file: file.stat().st_mtime_ns for file in nnunet.folder.rglob("*")} == before
    fold = nnunet.fold(TWINS[0])
    fold.mkdir(parents=True)
    (fold / "training_log_1.txt").write_text("2026: Epoch 0\n2026: Epoch time: 36.0 s\n")
    said = run(nnunet, *SMALL, "--dry-run")
    line = next(line for line in said.splitlines() if line.endswith("9 h 59 min"))
    assert "fold 0" in line and "started (epoch 0)" in line
    assert sum(line.endswith("10 h 0 min") for line in said.splitlines()) == 1  # the other fold of the same model

"""What is handed to Snakemake, and what is shown."""

import io
import json
import os
import sys
import zipfile

import pytest
from support.fake_nnunet import CASES, DATASET
from support.results_factory import END, epoch_text

from nnunet_reca.cli.study import main
from nnunet_reca.study import engine
from nnunet_reca.study.display import Display
from nnunet_reca.study.engine import Request
from nnunet_reca.study.jobs import Job, all_jobs
from nnunet_reca.study.locks import grasp
from nnunet_reca.study.progress import duration, states_of, training_line
from nnunet_reca.study.spec import study_of, text_of
from nnunet_reca.study.states import DONE, RUNNING, TO_DO, fold_folder, lock_file

TRAINER = "nnUNetTrainerSwinUNETRReca_seed1_5epochs"
TRAINING = Job("train", DATASET, TRAINER, "nnUNetPlans", "3d_fullres", "0")


def study(**entries):
    return study_of({"datasets": [DATASET], "trainers": [TRAINER], "folds": [0], "device": "cpu", **entries})


def words(nnunet, *snakemake, cores=8, **entries):
    request = Request(nnunet.study, {}, snakemake)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "cores", lambda: cores)
        return " ".join(engine.command(study(**entries), request))


def test_trainings_of_one_machine_share_its_cores_and_have_a_gpu_each(nnunet):
    four = words(nnunet, device="cuda", gpus=["0", "1", "2", "3"], cores=32)
    assert "--cores 32" in four and "--resources gpu=4" in four and "--set-threads train=8" in four
    two = words(nnunet, device="cuda", gpus=["0", "1"], trainings_per_gpu=2, cores=4)
    assert "--resources gpu=4" in two and "--set-threads train=1" in two
    pairs = words(nnunet, device="cuda", gpus=["0", "1", "2", "3"], num_gpus=2, cores=32)
    assert "--resources gpu=4" in pairs and "--set-threads train=12" in pairs
    cpu = words(nnunet)
    assert "--cores 8" in cpu and "gpu" not in cpu and "--set-threads train=8" in cpu
    assert "--set-threads train=2" in words(nnunet, steps={"train": {"threads": 2}})


def test_trainings_at_a_time_are_those_that_cores_and_gpus_have_room_for(nnunet, monkeypatch):
    monkeypatch.setattr(engine, "cores", lambda: 16)

    def at_a_time(*snakemake, **entries):
        return engine.side_by_side(study(**entries), Request(nnunet.study, {}, snakemake))

    assert at_a_time(device="cuda", gpus=["0", "1", "2", "3"]) == 4
    assert at_a_time(device="cuda", gpus=["0", "1", "2", "3"], num_gpus=2) == 2
    assert at_a_time(device="cuda", gpus=["0", "1"], trainings_per_gpu=2, steps={"train": {"threads": 4}}) == 4
    assert at_a_time(steps={"train": {"threads": 3}}) == 5 and at_a_time() == 1
    assert at_a_time("--executor", "slurm", "--jobs", "32") == 32


def test_what_is_not_ours_goes_to_snakemake_and_a_cluster_is_not_counted_as_this_machine(nnunet):
    sent = words(nnunet, "--executor", "slurm", "--jobs", "32", device="cuda")
    assert sent.endswith("--executor slurm --jobs 32") and "--cores" not in sent and "--resources" not in sent
    assert not Request(nnunet.study, {}, ("--executor=slurm",)).local
    assert not Request(nnunet.study, {}, ("--profile", "cluster")).local
    assert Request(nnunet.study, {}, ("--executor", "local", "--jobs", "3")).local
    assert "--cores" not in words(nnunet, "--jobs", "3")
    assert words(nnunet, "-s", "mine").count("--snakefile") == 0


def test_another_study_of_the_same_data_does_not_take_the_place_of_the_first(nnunet, capsys):
    pytest.importorskip("snakemake")
    folder = nnunet.results.parent / f"reca_study_{DATASET}"
    folder.mkdir()
    (folder / "study.yaml").write_text(text_of(study(seeds=[0])))
    words = ["-d", "998", "--device", "cpu", "--dry-run", "-tr"]
    assert main([*words, "nnUNetTrainer"]) == 1
    assert f"got one without {TRAINER}; say -o OTHER for another study" in capsys.readouterr().err
    assert main([*words, TRAINER, "nnUNetTrainer", "--seeds", "0", "1"]) == 1  # both name a seed
    assert "names its seed" in capsys.readouterr().err
    assert main([*words, "nnUNetTrainer", "-o", str(nnunet.study)]) == 0


def test_commands_are_found_where_nothing_is_activated(nnunet, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin")
    request = Request(nnunet.study, {})
    assert engine.environment(study(), request)["PATH"] == f"{os.path.dirname(sys.executable)}{os.pathsep}/usr/bin"
    monkeypatch.setenv("PATH", f"/mine{os.pathsep}{os.path.dirname(sys.executable)}")
    assert engine.environment(study(), request)["PATH"].startswith("/mine")


def started(nnunet, epochs, end=""):
    nnunet.plan()
    fold = fold_folder(TRAINING)
    fold.mkdir(parents=True)
    text = "".join(epoch_text(n, dice=0.5 + n / 10, seconds=30.0) for n in range(epochs)) + end
    (fold / "training_log_2026_1_1_00_00_00.txt").write_text(text)
    return fold


def test_a_running_training_shows_epoch_dice_and_time_left(nnunet):
    started(nnunet, 3)
    assert training_line(TRAINING).endswith("epoch 3 of 5, pseudo Dice 0.700, 1 min 0 s left")
    (fold_folder(TRAINING) / "training_log_2026_1_1_00_00_01.txt").write_text(END)
    assert training_line(TRAINING).endswith("epoch 3 of 5, pseudo Dice 0.700, validation")


@pytest.mark.parametrize(
    ("seconds", "text"), [(7.4, "7 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (200_000, "2 d 7 h")]
)
def test_durations_have_two_units(seconds, text):
    assert duration(seconds) == text


def test_preprocessed_data_may_go_when_all_trainings_are_there(nnunet):
    fold = started(nnunet, 5, END)
    with zipfile.ZipFile(fold / "checkpoint_final.pth", "w") as archive:
        archive.writestr("weights", "1")
    (fold / "validation").mkdir()
    entries = [{"prediction_file": f"{case}.nii.gz"} for case in CASES[:2]]
    (fold / "validation" / "summary.json").write_text(json.dumps({"metric_per_case": entries}))
    for file in (nnunet.preprocessed / "nnUNetPlans_3d_fullres").iterdir():
        file.unlink()
    states = states_of(study(), nnunet.study)
    assert {job.kind: state.name for job, state in states.items()} == {
        **dict.fromkeys(("fingerprint", "plan", "preprocess", "train"), DONE),
        "best": TO_DO,
    }
    (fold / "validation" / "summary.json").unlink()
    assert {job.kind: s.name for job, s in states_of(study(), nnunet.study).items()}["preprocess"] == TO_DO


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_a_bar_and_a_line_for_each_training_that_runs(nnunet, monkeypatch):
    started(nnunet, 2)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr("nnunet_reca.study.display.INTERVAL", 0.0)
    lock = grasp(lock_file(nnunet.study, TRAINING))
    with Display(study(), nnunet.study, all_jobs(study())) as display:
        assert display.states[TRAINING].name == RUNNING
        display.update()
    os.close(lock)
    assert "jobs:" in terminal.getvalue() and "3 of 5" in terminal.getvalue()
    assert "train 998 3d_fullres fold 0 SwinUNETRReca_seed1_5epochs: epoch 2 of 5, pseudo" in terminal.getvalue()


def test_without_a_terminal_there_is_a_line_for_what_ends_and_no_other(nnunet, monkeypatch, capsys):
    monkeypatch.setattr("nnunet_reca.study.display.INTERVAL", 0.0)
    with Display(study(), nnunet.study, all_jobs(study())) as display:
        display.update()
        assert capsys.readouterr() == ("", "")
        started(nnunet, 2)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" ", 1)[1].split(" Data")[0] for line in lines] == [
        "done: fingerprint",
        "done: plan",
        "done: preprocess",
    ]

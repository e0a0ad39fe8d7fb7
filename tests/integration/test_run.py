"""The integration script itself: its arguments, and a small run that stops, goes on and passes."""

import os
import subprocess
from pathlib import Path

import pytest
from support.preloaded import preloaded

SCRIPT = Path(__file__).with_name("run.sh")
TRAINER = "nnUNetTrainerDATransUnetReca_tiny_1epochs"


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("integration") / "work"


@pytest.fixture(scope="module")
def run(work):
    """The script, with commands that need not import nnU-Net anew each."""
    folders = {f"nnUNet_{name}": str(work / name) for name in ("raw", "preprocessed", "results")}
    few = {"nnUNet_def_n_proc": "1", "nnUNet_npp": "0", "nnUNet_nps": "0", "nnUNet_n_proc_DA": "1"}
    environment = {**os.environ, **few}
    environment.pop("nnUNet_raw", None)
    with preloaded({**environment, **folders}) as commands:
        environment["PATH"] = os.pathsep.join([str(commands), os.environ["PATH"]])
        yield lambda *arguments, **variables: subprocess.run(
            [SCRIPT, *arguments],
            env={**environment, "WORK": str(work), "DEVICE": "cpu", **variables},
            capture_output=True,
            text=True,
            timeout=900,
        )


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        ([], {}, "usage:"),
        ([TRAINER, "two"], {}, "expected ITERATIONS to be a positive number, got two"),
        ([TRAINER], {"CASES": "4"}, "expected CASES to be a number from 5 on, got 4"),
        ([TRAINER], {"DATASETS": "999 4"}, "expected DATASETS of 999 998 997 996, got 4"),
        ([TRAINER], {"PATH": "/usr/bin:/bin"}, "activate the environment"),
        (["nnUNetTrainer"], {}, "has no attribute 'nnUNetTrainer'"),
        (["nnUNetTrainerSwinUNETR_huge"], {}, "expected a trainer name of the form"),
    ],
)
def test_wrong_arguments_are_said_before_anything_is_made(run, tmp_path, arguments, variables, message):
    failed = run(*arguments, WORK=str(tmp_path / "work"), **variables)
    assert failed.returncode == 2 and message in failed.stderr
    assert not (tmp_path / "work").exists()


@pytest.mark.slow
def test_stopped_run_says_where_and_goes_on_to_a_summary(run, work):
    """With regions and ignore label; stopped by a device that does not exist."""
    variables = {"CASES": "5", "DATASETS": "996"}
    cases = work / "raw" / "Dataset004_Hippocampus"
    stopped = run(TRAINER, "1", **{**variables, "DEVICE": "nowhere"})
    assert stopped.returncode == 1 and "stopped at: nnUNetv2_train 996 2d 0" in stopped.stderr
    assert f"go on with: WORK={work} CASES=5" in stopped.stderr
    assert len(list((cases / "labelsTr").iterdir())) == len(list((cases / "imagesTs").iterdir())) == 5
    passed = run(TRAINER, "1", **variables)
    assert passed.returncode == 0, passed.stderr
    assert "convert, plan, preprocess" not in passed.stdout
    summary = passed.stdout.strip().splitlines()[-1]
    assert f"passed: {TRAINER}, 1 data sets, 5 models" in summary and "; 996 2d 0." in summary
    (predictions,) = (work / "predictions" / TRAINER).glob("Dataset996_*")
    assert len(list((predictions / "postprocessed").glob("*.nii.gz"))) == 5
    wrong = run(TRAINER, "1", **{**variables, "CASES": "6"})
    assert wrong.returncode == 2 and "expected CASES=5" in wrong.stderr

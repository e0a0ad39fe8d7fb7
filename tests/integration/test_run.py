"""The integration script itself: its arguments, and a small run that stops, goes on and passes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("run.sh")
TRAINER = "nnUNetTrainerDATransUnetReca_tiny_1epochs"


def run(*arguments, **variables):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    # every worker of nnU-Net's imports it anew, which takes longer than its work here
    few = {"nnUNet_def_n_proc": "1", "nnUNet_npp": "0", "nnUNet_nps": "0"}
    environment = {**os.environ, **few, "PATH": path, "DEVICE": "cpu", **variables}
    return subprocess.run([SCRIPT, *arguments], env=environment, capture_output=True, text=True, timeout=900)


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
def test_wrong_arguments_are_said_before_anything_is_made(tmp_path, arguments, variables, message):
    failed = run(*arguments, WORK=str(tmp_path / "work"), **variables)
    assert failed.returncode == 2 and message in failed.stderr
    assert not (tmp_path / "work").exists()


@pytest.mark.slow
def test_stopped_run_says_where_and_goes_on_to_a_summary(tmp_path):
    """With regions and ignore label; stopped by a device that does not exist."""
    variables = {"WORK": str(tmp_path), "CASES": "5", "DATASETS": "996", "nnUNet_n_proc_DA": "1"}
    cases = tmp_path / "raw" / "Dataset004_Hippocampus"
    stopped = run(TRAINER, "1", **{**variables, "DEVICE": "nowhere"})
    assert stopped.returncode == 1 and "stopped at: nnUNetv2_train 996 2d 0" in stopped.stderr
    assert f"go on with: WORK={tmp_path} CASES=5" in stopped.stderr
    assert len(list((cases / "labelsTr").iterdir())) == len(list((cases / "imagesTs").iterdir())) == 5
    passed = run(TRAINER, "1", **variables)
    assert passed.returncode == 0, passed.stderr
    assert "convert, plan, preprocess" not in passed.stdout
    summary = passed.stdout.strip().splitlines()[-1]
    assert f"passed: {TRAINER}, 1 data sets, 5 models" in summary and "; 996 2d 0." in summary
    (predictions,) = (tmp_path / "predictions" / TRAINER).glob("Dataset996_*")
    assert len(list((predictions / "postprocessed").glob("*.nii.gz"))) == 5
    wrong = run(TRAINER, "1", **{**variables, "CASES": "6"})
    assert wrong.returncode == 2 and "expected CASES=5" in wrong.stderr

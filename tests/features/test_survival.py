"""Trainings that are killed while a checkpoint is written and again within an epoch, and go on both times."""

import subprocess

import pytest
import torch
from support.raw_data import PLAIN

pytestmark = pytest.mark.slow

TRAINER, CONFIGURATION, EPOCHS = "nnUNetTrainerSwinUNETRReca_tiny_3epochs", "3d_fullres", 3
#: nnUNetv2_train, which takes as many threads as there are cores, on one: sums of several threads differ in rounding.
ONE_THREAD = """
import torch
torch.set_num_threads = lambda number: None
from nnunetv2.run.run_training import run_training_entry
run_training_entry()
"""
#: A training that writes half of its checkpoint of two epochs and is killed on the spot.
TORN = """
import io, os, signal, torch

def torn(content, file, *, whole=torch.save):
    if content["current_epoch"] < 2:
        return whole(content, file)
    buffer = io.BytesIO()
    whole(content, buffer)
    with open(file, "wb") as half:
        half.write(buffer.getvalue()[: buffer.tell() // 2])
    os.kill(os.getpid(), signal.SIGKILL)

torch.save = torn
"""


@pytest.fixture(scope="module")
def histories(workspace):
    """Results of the same training, uninterrupted and killed twice: seeded, on one thread, loading in its process."""
    repeatable = {"nnUNet_n_proc_DA": "0", "nnUNet_reca_seed": "11", "OMP_NUM_THREADS": "1"}
    results = {name: workspace.folder / name for name in ("uninterrupted", "killed")}
    before = dict(workspace.environment)
    workspace.environment |= repeatable
    _, *words = workspace.training(TRAINER, CONFIGURATION, dataset=PLAIN)
    one_thread = ("python", "-c", ONE_THREAD, *words)
    try:
        workspace.run_all(one_thread, nnUNet_results=str(results["uninterrupted"]))
        workspace.environment["nnUNet_results"] = str(results["killed"])
        torn = subprocess.run(
            workspace.command("python", "-c", TORN + ONE_THREAD, *words),
            env=workspace.environment,
            capture_output=True,
            text=True,
        )
        workspace.run_until_killed("Epoch 2", *one_thread, "--c")
        (log,) = workspace.run_all((*one_thread, "--c"))
    finally:
        workspace.environment = before
    return {"results": results, "torn": torn, "log": log}


def fold(histories, workspace, name):
    return histories["results"][name] / workspace.name(PLAIN) / f"{TRAINER}__nnUNetPlans__{CONFIGURATION}" / "fold_0"


def test_killed_while_writing_leaves_a_whole_checkpoint_to_go_on_from(histories):
    assert histories["torn"].returncode == -9, histories["torn"].stderr[-2000:]
    assert "Epoch 1" in histories["torn"].stdout and "Epoch 2" not in histories["torn"].stdout
    assert "Epoch 1\n" not in histories["log"] and "Epoch 2\n" in histories["log"]


def test_continued_training_equals_an_uninterrupted_one(histories, workspace):
    first, second = (
        torch.load(fold(histories, workspace, name) / "checkpoint_final.pth", weights_only=False)
        for name in ("uninterrupted", "killed")
    )
    assert first["current_epoch"] == second["current_epoch"] == EPOCHS
    for name, weight in first["network_weights"].items():
        difference = (second["network_weights"][name] - weight).abs().max()
        assert difference <= 1e-5, f"{name}: {difference:.2e}"
    for index, state in first["optimizer_state"]["state"].items():
        torch.testing.assert_close(second["optimizer_state"]["state"][index], state, rtol=1e-4, atol=1e-6)
    assert first["logging"]["train_losses"] == pytest.approx(second["logging"]["train_losses"], abs=1e-5)
    assert first["logging"]["lrs"] == pytest.approx(second["logging"]["lrs"])

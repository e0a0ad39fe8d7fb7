"""Trainings that survive: losses that are not finite, checkpoints cut off while they are written, other precisions."""

import os

import numpy as np
import pytest
import torch
from support.plan_factory import KINDS
from support.trainer_factory import initialized_trainer, random_batch

from nnunet_reca.trainers import base
from nnunet_reca.trainers.precision import set_precision


@pytest.fixture
def initialized(folders):
    return initialized_trainer(folders, "nnUNetTrainerSwinUNETRReca_tiny_2epochs", "2d")


def test_steps_with_a_loss_that_is_not_finite_change_nothing_and_end_the_training_if_they_persist(
    initialized, monkeypatch
):
    monkeypatch.setattr(base, "NON_FINITE_LIMIT", 3)
    good = random_batch(initialized)
    bad = {**good, "data": torch.full_like(good["data"], float("nan"))}
    initialized.train_step(good)
    before = [p.clone() for p in initialized.network.parameters()]
    initialized.train_step(bad)
    initialized.train_step(bad)
    assert all(torch.equal(p, b) for p, b in zip(initialized.network.parameters(), before, strict=True))
    assert np.isfinite(initialized.train_step(good)["loss"]), "single steps are forgiven"
    initialized.train_step(bad)
    initialized.train_step(bad)
    with pytest.raises(RuntimeError, match="3 training steps in a row.*checkpoints .* are kept"):
        initialized.train_step(bad)


def test_checkpoint_interrupted_while_it_is_written_leaves_the_old_one_whole(initialized, monkeypatch):
    file = os.path.join(initialized.output_folder, "checkpoint_latest.pth")
    initialized.save_checkpoint(file)
    weights = torch.load(file, weights_only=False)["network_weights"]

    def interrupted(content, name):
        with open(name, "wb") as half_written:
            half_written.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        initialized.save_checkpoint(file)
    monkeypatch.undo()
    kept = torch.load(file, weights_only=False)["network_weights"]
    assert all(torch.equal(kept[n], weights[n]) for n in weights)


def test_disabled_checkpointing_writes_nothing(initialized):
    initialized.disable_checkpointing = True
    file = os.path.join(initialized.output_folder, "checkpoint_latest.pth")
    initialized.save_checkpoint(file)
    assert not os.path.exists(file)


def test_gradient_scaler_skips_a_bad_step_and_lowers_its_scale(initialized):
    initialized.grad_scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)  # as nnU-Net has it on CUDA
    good = random_batch(initialized)
    initialized.train_step(good)
    before = [p.clone() for p in initialized.network.parameters()]
    initialized.train_step({**good, "data": torch.full_like(good["data"], float("inf"))})
    assert all(torch.equal(p, b) for p, b in zip(initialized.network.parameters(), before, strict=True))
    assert initialized.grad_scaler.get_scale() == 512.0
    assert np.isfinite(initialized.train_step(good)["loss"])
    assert not all(torch.equal(p, b) for p, b in zip(initialized.network.parameters(), before, strict=True))


@pytest.mark.parametrize("network", KINDS)
def test_bfloat16_computes_in_bfloat16_and_learns(folders, network):
    trainer = initialized_trainer(folders, f"nnUNetTrainer{network}Reca_tiny_bf16_2epochs", "2d")
    assert trainer.grad_scaler is None
    batch = random_batch(trainer)
    assert all(o.dtype == torch.bfloat16 for o in trainer.network(batch["data"]))
    losses = [float(trainer.train_step(batch)["loss"]) for _ in range(4)]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    assert all(p.dtype == torch.float32 for p in trainer.network.parameters())


def test_float32_stays_float32_inside_autocast(folders):
    trainer = initialized_trainer(folders, "nnUNetTrainerSwinUNETRReca_tiny_fp32_2epochs", "2d")
    assert trainer.grad_scaler is None
    data = random_batch(trainer)["data"]
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        inside = trainer.network(data)[0]
    with torch.no_grad():
        outside = trainer.network(data)[0]
    assert inside.dtype == torch.float32 and torch.equal(inside, outside)


def test_prediction_builds_the_network_in_the_trainers_precision(folders):
    trainer = initialized_trainer(folders, "nnUNetTrainerSwinUNETRReca_tiny_bf16_2epochs", "2d")
    network = type(trainer).build_network_architecture(
        trainer.plans_manager, trainer.configuration_manager, 1, 3, enable_deep_supervision=False
    )
    network.load_state_dict(trainer.network.state_dict(), strict=True)
    assert network(torch.randn(1, 1, *trainer.configuration_manager.patch_size)).dtype == torch.bfloat16


def test_unknown_precision_names_the_known_ones():
    with pytest.raises(ValueError, match=r"\['bf16', 'fp32'\], got 'fp8'"):
        set_precision(torch.nn.Identity(), "fp8")


def weights_after(folders, monkeypatch, seed, steps=2):
    monkeypatch.setenv("nnUNet_reca_seed", seed)
    trainer = initialized_trainer(folders, "nnUNetTrainerSwinUNETRReca_tiny_2epochs", "2d")
    trainer.on_epoch_start()
    for _ in range(steps):
        trainer.train_step(random_batch(trainer))
    return torch.cat([p.detach().flatten() for p in trainer.network.parameters()])


def test_seed_repeats_initial_weights_and_epochs(folders, monkeypatch):
    first, again, other = (weights_after(folders, monkeypatch, seed) for seed in ("7", "7", "8"))
    torch.testing.assert_close(first, again, rtol=0, atol=1e-6)
    assert (first - other).abs().max() > 1e-2
    with pytest.raises(ValueError, match="nnUNet_reca_seed to be a whole number of at least 0, got 'x'"):
        weights_after(folders, monkeypatch, "x")

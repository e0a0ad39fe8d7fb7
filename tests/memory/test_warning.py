"""A training says before it starts that it may not fit, and never fails because of that."""

import re
from pathlib import Path

import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from support.estimates import needs_estimates
from support.trainer_factory import initialized_trainer, new_trainer

from nnunet_reca.memory import TrainingMemory, training_memory
from nnunet_reca.memory.warning import memory_warning

GB = 10**9
MEMORY = TrainingMemory(1 * GB, 1 * GB, 2 * GB, 5 * GB, 2 * GB, 5 * GB, "cuda")


def test_peak_is_the_sum_of_its_parts_and_fits_with_a_reserve():
    assert MEMORY.total == 11 * GB
    assert MEMORY.fits(24 * GB) and MEMORY.fits(12 * GB) and not MEMORY.fits(11 * GB)
    assert "peak           11.00 GB" in MEMORY.text()
    assert "fits in 11 GB: no" in MEMORY.text() and "fits in 24 GB: yes" in MEMORY.text()


def test_more_than_is_free_is_a_warning():
    line = memory_warning(lambda: MEMORY, lambda: (10 * GB, 24 * GB))
    assert line is not None and "11.0 GB" in line and "10.0 of 24.0 GB are free" in line and "_checkpoint" in line


def test_what_fits_needs_no_words():
    assert memory_warning(lambda: MEMORY, lambda: (11 * GB, 24 * GB)) is None


@pytest.mark.parametrize("error", [NotImplementedError("no such\noperation"), KeyError("plans"), RuntimeError()])
def test_an_estimate_that_fails_is_one_line(error):
    def fails():
        raise error

    line = memory_warning(fails, lambda: (1, 1))
    assert line is not None and "\n" not in line and type(error).__name__ in line


def test_an_old_pytorch_is_told_at_once(monkeypatch):
    monkeypatch.setattr("nnunet_reca.ops._torch.ESTIMATES_MEMORY", False)
    plans = {"configurations": {"3d_fullres": {}}}
    with pytest.raises(ValueError, match=f"a newer PyTorch than {re.escape(torch.__version__)} to estimate memory"):
        training_memory("nnUNetTrainerPrimusSReca_tiny", plans, "3d_fullres", {}, device="cpu")


@needs_estimates
def test_a_trainer_says_before_it_starts_that_the_card_is_too_small(folders):
    trainer = initialized_trainer(folders, "nnUNetTrainerPrimusSReca_tiny", "3d_fullres")
    before = torch.get_rng_state()
    trainer.warn_of_memory(lambda: (GB, GB))  # fits
    trainer.warn_of_memory(lambda: (1000, GB))
    log = Path(trainer.log_file).read_text(encoding="utf-8")
    assert log.count("a training step takes about") == 1 and "0.0 of 1.0 GB are free" in log
    assert torch.equal(before, torch.get_rng_state())


@needs_estimates
@pytest.mark.parametrize("rank", [0, 1])
def test_a_training_that_starts_afresh_is_estimated_once_with_its_batch(folders, monkeypatch, rank):
    """nnU-Net builds the network and knows the batch only when the training starts, on every device of it."""
    trainer = new_trainer(folders, "nnUNetTrainerPrimusSReca_tiny", "3d_fullres")
    trainer.device, trainer.local_rank = torch.device("cuda", rank), rank
    monkeypatch.setattr(type(trainer), "initialize", lambda self: setattr(self, "batch_size", 2))
    monkeypatch.setattr(nnUNetTrainer, "on_train_start", lambda self: None)
    monkeypatch.setattr(type(trainer), "_memory_of_card", lambda self: (1000, GB))
    trainer.on_train_start()
    log = Path(trainer.log_file)
    text = log.read_text(encoding="utf-8") if log.exists() else ""
    assert text.count("a training step takes about") == (rank == 0)
    assert "not estimated" not in text

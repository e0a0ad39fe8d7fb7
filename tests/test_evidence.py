"""The page of the evidence says what the committed files say."""

import copy
import re
from pathlib import Path

import pytest
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from support.plan_factory import DATASET_JSON, HIPPOCAMPUS_2D, make_plans
from support.trainer_factory import CPU

from nnunet_reca.trainers.find import find_trainer
from nnunet_reca.trainers.recipe import TINY

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "evidence.md"
FILES = sorted((ROOT / "benchmarks" / "results").glob("evidence_*.json"))


@pytest.fixture
def report(script):
    return script("evidence_report")


@pytest.mark.skipif(not PAGE.is_file(), reason="source distributions have no documentation")
def test_the_pages_tables_are_those_of_the_files(report):
    comparisons = [report.read(file) for file in FILES]
    made = [report.overview(comparisons)]
    for comparison in comparisons:
        made += filter(None, [report.results(comparison), report.others(comparison), report.cuts(comparison)])
    shown = re.findall(r"^\|.*(?:\n\|.*)+", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(shown) == sorted(made)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.09, -0.01, "worse"),
        (0.001, 0.04, "better"),
        (-0.004, 0.003, "no difference that matters"),
        (0.001, 0.004, "no difference that matters"),
        (-0.004, -0.001, "no difference that matters"),
        (-0.002, 0.006, "none shown"),
        (-0.04, 0.04, "none shown"),
    ],
)
def test_an_interval_is_called_what_the_protocol_calls_it(report, low, high, verdict):
    model = report.Model("Reca", {}, [], {"low": low, "difference": (low + high) / 2, "high": high})
    assert model.verdict() == verdict


@pytest.mark.skipif(not (ROOT / "benchmarks").is_dir(), reason="source distributions have no benchmarks")
def test_the_anchor_is_nnunets_own_training_with_as_many_steps(folders, monkeypatch):
    monkeypatch.setenv("nnUNet_extTrainer", str(ROOT / "benchmarks" / "trainers"))
    trainer = find_trainer("nnUNetTrainer_2000steps")(
        make_plans(**{"2d": HIPPOCAMPUS_2D}), "2d", 0, copy.deepcopy(DATASET_JSON), CPU
    )
    assert trainer.num_epochs * trainer.num_iterations_per_epoch == 2000
    assert trainer.num_iterations_per_epoch == TINY.iterations_per_epoch
    assert trainer.num_val_iterations_per_epoch == TINY.validation_iterations_per_epoch
    assert type(trainer).configure_optimizers is nnUNetTrainer.configure_optimizers

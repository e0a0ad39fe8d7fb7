"""The learning rate that a pilot training asks for is the one it trains with, whatever its network's recipe says."""

import importlib
import sys
from pathlib import Path

import pytest
from support.trainer_factory import new_trainer

from nnunet_reca.plans.networks import NETWORKS

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
TINY = [name for name, network in NETWORKS.items() if "tiny" in network.sizes]


@pytest.fixture
def benchmark(monkeypatch):
    """The module that the benchmarks share; what it changes is put back."""
    if not BENCHMARKS.is_dir():
        pytest.skip("no benchmarks here")
    for name, network in NETWORKS.items():
        monkeypatch.setitem(NETWORKS, name, network)
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("measure")
    del sys.modules["measure"]


@pytest.mark.parametrize("network", TINY)
def test_a_pilots_rate_is_its_trainings(folders, benchmark, network):
    configuration = "3d_fullres" if 3 in NETWORKS[network].dimensions else "2d"
    benchmark.set_tiny_rate(0.125)
    trainer = new_trainer(folders, f"nnUNetTrainer{network}Reca_tiny", configuration)
    assert trainer.initial_lr == trainer.recipe.initial_lr == 0.125
    assert new_trainer(folders, f"nnUNetTrainer{network}", configuration).initial_lr < 0.125

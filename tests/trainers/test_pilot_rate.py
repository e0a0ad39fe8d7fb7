"""The learning rate that a pilot training asks for is the one it trains with, whatever its network's recipe says."""

import pytest
from support.trainer_factory import new_trainer

from nnunet_reca.plans.networks import NETWORKS

TINY = [name for name, network in NETWORKS.items() if "tiny" in network.sizes]


@pytest.mark.parametrize("network", TINY)
def test_a_pilots_rate_is_its_trainings(folders, script, monkeypatch, network):
    for name, planned in NETWORKS.items():
        monkeypatch.setitem(NETWORKS, name, planned)  # put back at the end
    configuration = "3d_fullres" if 3 in NETWORKS[network].dimensions else "2d"
    script("measure").set_tiny_rate(0.125)
    trainer = new_trainer(folders, f"nnUNetTrainer{network}Reca_tiny", configuration)
    assert trainer.initial_lr == trainer.recipe.initial_lr == 0.125
    assert new_trainer(folders, f"nnUNetTrainer{network}", configuration).initial_lr < 0.125

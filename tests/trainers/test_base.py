import copy

import numpy as np
import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from support.plan_factory import DATASET_JSON, HIPPOCAMPUS_3D, KINDS, make_configuration, make_plans
from support.trainer_factory import CPU, initialized_trainer, random_batch

from nnunet_reca import trainers
from nnunet_reca.blocks import SumCarry
from nnunet_reca.plans.networks import NETWORKS
from nnunet_reca.trainers.recipe import BASE, TINY


def make_trainer(name, configuration=HIPPOCAMPUS_3D, kind=None):
    trainer = kind or getattr(trainers, name)
    return trainer(make_plans(fullres=configuration), "fullres", 0, copy.deepcopy(DATASET_JSON), CPU)


def test_plan_to_be_saved_builds_the_same_network_by_the_stock_trainer(folders):
    trainer = make_trainer("nnUNetTrainerSwinUNETRReca_tiny_3epochs")
    plans = copy.deepcopy(trainer.plans_manager.plans)
    stock = nnUNetTrainer({**plans, "continue_training": False}, "fullres", 0, DATASET_JSON, CPU)
    networks = [
        t.build_network_architecture(t.plans_manager, t.configuration_manager, 1, 3, False) for t in (trainer, stock)
    ]
    assert type(networks[0]) is type(networks[1]) and type(networks[0]).__name__ == "SwinUNETR"
    networks[1].load_state_dict(networks[0].state_dict(), strict=True)
    assert all(isinstance(stage.carry, SumCarry) for stage in networks[1].encoder.stages)


def test_deep_supervision_scales_match_the_networks_outputs(folders):
    trainer = make_trainer("nnUNetTrainerSwinUNETR_tiny")
    scales = trainer._get_deep_supervision_scales()
    network = trainer.build_network_architecture(trainer.plans_manager, trainer.configuration_manager, 1, 3, True)
    outputs = network(torch.randn(1, 1, 40, 56, 40))
    sizes = [tuple(round(side * f) for side, f in zip((40, 56, 40), scale, strict=True)) for scale in scales]
    assert [tuple(o.shape[2:]) for o in outputs] == sizes


def test_options_set_epochs_size_and_recipe(folders, monkeypatch):
    monkeypatch.delenv("nnUNet_reca_iterations_per_epoch", raising=False)
    base, tiny = make_trainer("nnUNetTrainerSwinUNETR"), make_trainer("nnUNetTrainerSwinUNETR_tiny_30epochs")
    assert (base.num_epochs, base.num_iterations_per_epoch, base.save_every) == (1000, 250, 50)
    assert (base.initial_lr, base.weight_decay) == (BASE.initial_lr, BASE.weight_decay)
    assert (tiny.num_epochs, tiny.num_iterations_per_epoch) == (30, TINY.iterations_per_epoch)
    assert tiny.save_every == 1
    assert tiny.initial_lr == TINY.initial_lr


@pytest.mark.parametrize(
    ("name", "rate"), [("PrimusS", 3e-4), ("PrimusS_tiny", 1e-3), ("PrimusSReca_tiny", 1e-3), ("PrimusV3S_tiny", 4e-3)]
)
def test_a_networks_own_recipe_is_that_of_its_size_and_of_both_twins(folders, name, rate):
    trainer = make_trainer(f"nnUNetTrainer{name}")
    assert trainer.recipe.initial_lr == trainer.initial_lr == rate
    assert trainer.recipe.betas == (0.9, 0.98)


def test_environment_shortens_epochs_and_refuses_nonsense(folders, monkeypatch):
    monkeypatch.setenv("nnUNet_reca_iterations_per_epoch", "3")
    trainer = make_trainer("nnUNetTrainerSwinUNETRReca")
    assert (trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch) == (3, 3)
    monkeypatch.setenv("nnUNet_reca_iterations_per_epoch", "many")
    with pytest.raises(ValueError, match="whole number of at least 1, got 'many'"):
        make_trainer("nnUNetTrainerSwinUNETRReca")


def test_threads_on_the_cpu_are_as_many_as_the_environment_says(folders, monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setenv("nnUNet_reca_threads", str(before + 2))
    try:
        make_trainer("nnUNetTrainerSwinUNETRReca")
        assert torch.get_num_threads() == before + 2
    finally:
        torch.set_num_threads(before)
    monkeypatch.setenv("nnUNet_reca_threads", "0")
    with pytest.raises(ValueError, match="whole number of at least 1, got '0'"):
        make_trainer("nnUNetTrainerSwinUNETRReca")


def test_failed_start_writes_nothing(folders):
    with pytest.raises(ValueError, match="at least 2 poolings"):
        make_trainer("nnUNetTrainerSwinUNETRReca", make_configuration([8, 8, 8], [[1] * 3, [2] * 3]))
    assert list((folders / "results").iterdir()) == []


REGIONS = DATASET_JSON | {
    "labels": {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3},
    "regions_class_order": [1, 2],
}


@pytest.mark.parametrize("kind", ["3d_cascade_fullres", "3d_fullres regions", "2d regions", "2d"])
@pytest.mark.parametrize("network", KINDS)
def test_every_trainer_takes_steps_with_cascade_regions_and_ignore_label(folders, network, kind):
    configuration, *regions = kind.split(" ")
    if configuration != "2d" and 3 not in NETWORKS[network].dimensions:
        pytest.skip(f"{network} is a 2D network")
    name = f"nnUNetTrainer{network}Reca_tiny_2epochs"
    trainer = initialized_trainer(folders, name, configuration, REGIONS if regions else DATASET_JSON)
    assert trainer.num_input_channels == (3 if "cascade" in kind else 1)
    batch = random_batch(trainer)
    losses = [float(trainer.train_step(batch)["loss"]) for _ in range(3)]
    assert np.isfinite(losses).all()
    # nnU-Net gives the coarsest scale no weight, unless it trains on several devices
    coarsest = f"decoder.seg_layers.{len(trainer.network.decoder.seg_layers) - 1}."
    without = [n for n, p in trainer.network.named_parameters() if p.grad is None]
    assert all(n.startswith(coarsest) for n in without)
    trainer.network.eval()
    assert np.isfinite(trainer.validation_step(batch)["loss"])


def test_a_users_subclass_works(folders):
    class nnUNetTrainerMine(trainers.nnUNetTrainerSwinUNETRReca_tiny):
        pass

    assert make_trainer("", kind=nnUNetTrainerMine).initial_lr == TINY.initial_lr

import copy
import os

import numpy as np
import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from plan_factory import DATASET_JSON, HIPPOCAMPUS_2D, HIPPOCAMPUS_3D, make_configuration, make_plans

from nnunet_reca import trainers
from nnunet_reca.plans.networks import NETWORKS
from nnunet_reca.trainers import base
from nnunet_reca.trainers.recipe import BASE, TINY

CPU = torch.device("cpu")


@pytest.fixture
def folders(tmp_path, monkeypatch):
    for name in ("raw", "preprocessed", "results"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    return tmp_path


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
    assert all(stage.recurrent for stage in networks[1].encoder.stages)


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


def test_environment_shortens_epochs_and_refuses_nonsense(folders, monkeypatch):
    monkeypatch.setenv("nnUNet_reca_iterations_per_epoch", "3")
    trainer = make_trainer("nnUNetTrainerSwinUNETRReca")
    assert (trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch) == (3, 3)
    monkeypatch.setenv("nnUNet_reca_iterations_per_epoch", "many")
    with pytest.raises(ValueError, match="positive whole number, got 'many'"):
        make_trainer("nnUNetTrainerSwinUNETRReca")


def test_failed_start_writes_nothing(folders):
    with pytest.raises(ValueError, match="at least 2 poolings"):
        make_trainer("nnUNetTrainerSwinUNETRReca", make_configuration([8, 8, 8], [[1] * 3, [2] * 3]))
    assert list((folders / "results").iterdir()) == []


REGIONS = DATASET_JSON | {
    "labels": {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3},
    "regions_class_order": [1, 2],
}
LOWRES = make_configuration([32, 32, 32], [[1] * 3] + [[2] * 3] * 3, next_stage="3d_cascade_fullres")
PLANNED = {
    "2d": HIPPOCAMPUS_2D | {"batch_dice": True},
    "3d_lowres": LOWRES | {"batch_dice": False},
    "3d_fullres": make_configuration([32, 48, 32], [[1] * 3] + [[2] * 3] * 3, batch_dice=False),
    "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
}


def random_batch(trainer, regions):
    """As nnU-Net's loaders make it: integer labels, or one channel per region and one for the ignore label."""
    patch = trainer.configuration_manager.patch_size
    scales = trainer._get_deep_supervision_scales() or [[1] * len(patch)]

    def target(scale):
        sides = [round(side * s) for side, s in zip(patch, scale, strict=True)]
        return torch.randint(0, 2, (2, 3, *sides)).float() if regions else torch.randint(0, 3, (2, 1, *sides))

    targets = [target(scale) for scale in scales]
    deep = trainer.enable_deep_supervision
    data = torch.randn(2, trainer.num_input_channels, *patch)
    return {"data": data, "target": targets if deep else targets[0]}


@pytest.mark.parametrize("kind", ["3d_cascade_fullres", "3d_fullres regions", "2d regions", "2d"])
@pytest.mark.parametrize("network", NETWORKS)
def test_every_trainer_takes_steps_with_cascade_regions_and_ignore_label(folders, network, kind):
    configuration, *regions = kind.split(" ")
    if configuration != "2d" and 3 not in NETWORKS[network].dimensions:
        pytest.skip(f"{network} is a 2D network")
    stored = folders / "preprocessed" / "Dataset999_Test" / "nnUNetPlans_test"
    stored.mkdir(parents=True)
    (stored / "a.b2nd").touch()
    dataset = copy.deepcopy(REGIONS if regions else DATASET_JSON)
    trainer = getattr(trainers, f"nnUNetTrainer{network}Reca_tiny_2epochs")
    trainer = trainer(make_plans(**PLANNED), configuration, 0, dataset, CPU)
    trainer.initialize()
    assert trainer.num_input_channels == (3 if "cascade" in kind else 1)
    batch = random_batch(trainer, bool(regions))
    trainer.network.train()
    losses = [float(trainer.train_step(batch)["loss"]) for _ in range(3)]
    assert np.isfinite(losses).all()
    # nnU-Net gives the coarsest scale no weight, unless it trains on several devices
    coarsest = f"decoder.seg_layers.{len(trainer.network.decoder.seg_layers) - 1}."
    without = [n for n, p in trainer.network.named_parameters() if p.grad is None]
    assert all(n.startswith(coarsest) for n in without)
    trainer.network.eval()
    assert np.isfinite(trainer.validation_step(batch)["loss"])


@pytest.fixture
def initialized(folders):
    stored = folders / "preprocessed" / "Dataset999_Test" / "nnUNetPlans_test"
    stored.mkdir(parents=True)
    (stored / "a.b2nd").touch()
    trainer = trainers.nnUNetTrainerSwinUNETRReca_tiny_2epochs
    trainer = trainer(make_plans(**PLANNED), "2d", 0, copy.deepcopy(DATASET_JSON), CPU)
    trainer.initialize()
    trainer.network.train()
    return trainer


def test_steps_with_a_loss_that_is_not_finite_change_nothing_and_end_the_training_if_they_persist(
    initialized, monkeypatch
):
    monkeypatch.setattr(base, "NON_FINITE_LIMIT", 3)
    good = random_batch(initialized, False)
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


def test_a_users_subclass_works(folders):
    class nnUNetTrainerMine(trainers.nnUNetTrainerSwinUNETRReca_tiny):
        pass

    assert make_trainer("", kind=nnUNetTrainerMine).initial_lr == TINY.initial_lr

"""Trainers on random data: a planned data set in nnU-Net's folders, without images."""

import copy

import torch

from nnunet_reca import trainers
from support.plan_factory import DATASET_JSON, HIPPOCAMPUS_2D, make_configuration, make_plans

CPU = torch.device("cpu")
LOWRES = make_configuration([32, 32, 32], [[1] * 3] + [[2] * 3] * 3, next_stage="3d_cascade_fullres")
PLANNED = {
    "2d": HIPPOCAMPUS_2D | {"batch_dice": True},
    "3d_lowres": LOWRES | {"batch_dice": False},
    "3d_fullres": make_configuration([32, 48, 32], [[1] * 3] + [[2] * 3] * 3, batch_dice=False),
    "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
}


def new_trainer(folders, name, configuration, dataset=DATASET_JSON, planned=PLANNED, device=CPU):
    """A trainer; ``folders`` holds nnU-Net's three folders, to which variables point."""
    stored = folders / "preprocessed" / "Dataset999_Test" / "nnUNetPlans_test"
    stored.mkdir(parents=True, exist_ok=True)
    (stored / "a.b2nd").touch()
    return getattr(trainers, name)(make_plans(**planned), configuration, 0, copy.deepcopy(dataset), device)


def initialized_trainer(folders, name, configuration, dataset=DATASET_JSON, planned=PLANNED, device=CPU):
    """A trainer with its network and optimizer."""
    trainer = new_trainer(folders, name, configuration, dataset, planned, device)
    trainer.initialize()
    trainer.network.train()
    return trainer


def random_batch(trainer):
    """As nnU-Net's loaders make it: integer labels, or one channel per region and one for the ignore label."""
    patch = trainer.configuration_manager.patch_size
    scales = trainer._get_deep_supervision_scales() or [[1] * len(patch)]
    regions = trainer.label_manager.has_regions

    def target(scale):
        sides = [round(side * s) for side, s in zip(patch, scale, strict=True)]
        return torch.randint(0, 2, (2, 3, *sides)).float() if regions else torch.randint(0, 3, (2, 1, *sides))

    targets = [target(scale) for scale in scales]
    data = torch.randn(2, trainer.num_input_channels, *patch)
    return {"data": data, "target": targets if trainer.enable_deep_supervision else targets[0]}

"""The estimate of a training step's memory next to real steps, what options do to it, and its errors."""

import random

import numpy as np
import pytest
import torch
from support.estimates import needs_estimates
from support.plan_factory import DATASET_JSON, KINDS, make_configuration, make_plans

from nnunet_reca.memory import training_memory
from nnunet_reca.memory.rehearsal import build_network, new_trainer, trainer_class

pytestmark = needs_estimates

PLANS = make_plans(
    **{
        "3d_fullres": make_configuration([24, 32, 48], [[1] * 3, *[[2] * 3] * 3], batch_dice=False),
        "2d": make_configuration([64, 96], [[1] * 2, *[[2] * 2] * 4], batch_dice=True),
    }
)


def estimate(trainer, configuration="3d_fullres", device="cuda", dataset=DATASET_JSON, **sizes):
    return training_memory(trainer, PLANS, configuration, dataset, device=device, **sizes)


def saved_by_a_real_step(name, configuration):
    """Bytes of storages that a forward pass saves, parameters and buffers excepted, in units of the CPU's allocator."""
    trainer = new_trainer(trainer_class(name), PLANS, configuration, DATASET_JSON, torch.device("cpu"), None)
    network = build_network(trainer).train()
    known = {t.untyped_storage().data_ptr() for t in (*network.parameters(), *network.buffers())}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = (tensor.detach(), -(-storage.nbytes() // 64) * 64)
        return tensor

    patch = trainer.configuration_manager.patch_size
    scales = trainer._get_deep_supervision_scales() or [[1] * len(patch)]
    sides = [[round(side * s) for side, s in zip(patch, scale, strict=True)] for scale in scales]
    targets = [torch.zeros(trainer.batch_size, 1, *map_, dtype=torch.int16) for map_ in sides]
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = network(torch.randn(trainer.batch_size, 1, *patch))
        trainer._build_loss()(output, targets if trainer.enable_deep_supervision else targets[0])
    return sum(size for _, size in kept.values())


@pytest.mark.parametrize("network", KINDS)
def test_estimate_counts_what_a_real_step_saves(network):
    name, configuration = (
        f"nnUNetTrainer{network}Reca_tiny",
        "2d" if KINDS[network].dimensions == (2,) else "3d_fullres",
    )
    assert estimate(name, configuration, "cpu").saved == saved_by_a_real_step(name, configuration)


def test_checkpointing_keeps_less_of_the_forward_pass():
    plain, checkpointed = (estimate(f"nnUNetTrainerSwinUNETRReca_tiny{option}") for option in ("", "_checkpoint"))
    assert checkpointed.saved < plain.saved / 2
    assert checkpointed.total < plain.total
    assert (checkpointed.parameters, checkpointed.optimizer) == (plain.parameters, plain.optimizer)


def test_precision_and_batch_count():
    half, full = estimate("nnUNetTrainerPrimusSReca_tiny"), estimate("nnUNetTrainerPrimusSReca_tiny_fp32")
    double = estimate("nnUNetTrainerPrimusSReca_tiny_fp32", batch_size=4)
    assert half.saved < full.saved
    assert double.saved == pytest.approx(2 * full.saved, rel=0.01)
    assert double.parameters == full.parameters
    assert half.optimizer == pytest.approx(2 * half.parameters, rel=0.01)  # AdamW's two moments


def test_stock_trainers_are_estimated_with_the_network_of_their_plans():
    stock = make_configuration([32] * 3, [[1] * 3, [2] * 3, [2] * 3], batch_dice=False)
    kernels = stock["architecture"]["arch_kwargs"]["kernel_sizes"]
    stock["architecture"] |= {"_kw_requires_import": ["conv_op", "norm_op", "nonlin"]}
    stock["architecture"]["arch_kwargs"] |= {
        "features_per_stage": [8, 16, 32],
        "conv_op": "torch.nn.Conv3d",
        "norm_op": "torch.nn.InstanceNorm3d",
        "norm_op_kwargs": {"affine": True},
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
        "n_conv_per_stage": [2] * 3,
        "n_conv_per_stage_decoder": [2] * 2,
        "conv_bias": True,
    }
    memory = training_memory("nnUNetTrainer", make_plans(stock=stock), "stock", DATASET_JSON)
    assert len(kernels) == 3 and memory.optimizer == memory.parameters  # one momentum
    assert sum((memory.gradients, memory.activations, memory.temporaries)) > 8 * 32**3 * 2 * 2


def test_estimate_leaves_no_trace(folders, monkeypatch):
    monkeypatch.setenv("nnUNet_reca_seed", "7")
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    estimate("nnUNetTrainerPrimusSReca_tiny")
    assert not any((folders / "results").iterdir())
    assert before[0] == random.getstate() and before[1] == np.random.get_state()[1].tolist()
    assert torch.equal(before[2], torch.get_rng_state())
    assert not torch.is_autocast_enabled("cuda")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"trainer": "nnUNetTrainerSwinUNETRReca", "device": "tpu"}, "expected a device of"),
        ({"trainer": "nnUNetTrainerSwinUNETRReca", "configuration": "3d_lowres"}, "expected a configuration of"),
        ({"trainer": "nnUNetTrainerNobodys"}, "expected the name of a trainer"),
        ({"trainer": "nnUNetTrainerSwinUNETRReca", "batch_size": 0}, "expected a batch_size of at least 1"),
        ({"trainer": "nnUNetTrainerSwinUNETRReca", "patch_size": [32, 32]}, "expected a patch_size of 3 sides"),
    ],
)
def test_bad_input_is_told_at_once(arguments, message):
    with pytest.raises(ValueError, match=message):
        estimate(**arguments)

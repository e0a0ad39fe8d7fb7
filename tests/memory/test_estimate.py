"""The estimate of a training step's memory, for all networks and options, and its errors."""

import pytest
from support.plan_factory import DATASET_JSON, make_configuration, make_plans

from nnunet_reca.memory import training_memory

PLANS = make_plans(**{"3d_fullres": make_configuration([32, 48, 32], [[1] * 3] + [[2] * 3] * 3, batch_dice=False)})


def estimate(trainer, device="cuda", configuration="3d_fullres", **sizes):
    return training_memory(trainer, PLANS, configuration, DATASET_JSON, device=device, **sizes)


def test_checkpointing_keeps_less_of_the_forward_pass():
    plain, checkpointed = (estimate(f"nnUNetTrainerSwinUNETRReca_tiny{option}") for option in ("", "_checkpoint"))
    assert checkpointed.saved < plain.saved / 2
    assert checkpointed.total < plain.total
    assert (checkpointed.parameters, checkpointed.optimizer) == (plain.parameters, plain.optimizer)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"trainer": "nnUNetTrainerSwinUNETRReca", "device": "tpu"}, "expected a device of"),
        ({"trainer": "nnUNetTrainerSwinUNETRReca", "configuration": "3d_lowres"}, "expected a configuration of"),
        ({"trainer": "nnUNetTrainerNobodys"}, "expected the name of a trainer"),
        ({"trainer": "nnUNetTrainerSwinUNETRReca", "batch_size": 0}, "expected a batch_size of at least 1"),
    ],
)
def test_bad_input_is_told_at_once(arguments, message):
    with pytest.raises(ValueError, match=message):
        estimate(**arguments)

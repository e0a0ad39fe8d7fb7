"""Copies of whole networks, as EMA, multiprocessing and other training codes make them, with every option."""

import copy
import io
import pickle

import pytest
import torch
from support.plan_factory import DATASET_JSON, KINDS, make_configuration, make_plans

from nnunet_reca import trainers
from nnunet_reca.trainers.names import longest_names

PLANS = make_plans(
    **{
        "2d": make_configuration([56, 40], [[1, 1]] + [[2, 2]] * 3),
        "3d": make_configuration([16, 24, 32], [[1, 1, 1]] + [[2, 2, 2]] * 3),
    }
)
#: every option of each network in 2D, and the network itself in 3D
CASES = [(name, "2d") for name in longest_names() if "tiny" in name]
CASES += [
    (f"nnUNetTrainer{name}{twin}_tiny", f"{d}d")
    for name in KINDS
    for twin in ("", "Reca")
    for d in KINDS[name].dimensions
]


def saved_and_loaded(network):
    file = io.BytesIO()
    torch.save(network, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


WAYS = {"deepcopy": copy.deepcopy, "pickle": lambda n: pickle.loads(pickle.dumps(n)), "torch.save": saved_and_loaded}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(("name", "configuration"), CASES)
def test_a_copy_is_equal_and_independent(name, configuration, way):
    torch.manual_seed(0)
    network = getattr(trainers, name).new_network(PLANS, configuration, DATASET_JSON).eval()
    x = torch.randn(1, 1, *PLANS["configurations"][configuration]["patch_size"])
    expected = network(x).detach()
    copied = way(network)
    assert type(copied) is type(network)
    assert torch.equal(copied(x), expected)
    parameters = {id(p) for p in network.parameters()}
    assert not any(id(p) in parameters for p in copied.parameters())
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.add_(0.1)
    assert torch.equal(network(x), expected), "the original stays"
    assert not torch.equal(copied(x), expected), "the copy has weights of its own"
    copied.train()(x).float().sum().backward()
    assert all(p.grad is None for p in network.parameters())

"""Copies of whole networks, as EMA, multiprocessing and other training codes make them, with every option."""

import copy
import io
import pickle

import pytest
import torch
from plan_factory import DATASET_JSON, KINDS, make_configuration, make_plans

from nnunet_reca import trainers

PATCH = [56, 40]
PLANS = make_plans(x=make_configuration(PATCH, [[1, 1]] + [[2, 2]] * 3))


def saved_and_loaded(network):
    file = io.BytesIO()
    torch.save(network, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


WAYS = {"deepcopy": copy.deepcopy, "pickle": lambda n: pickle.loads(pickle.dumps(n)), "torch.save": saved_and_loaded}
OPTIONS = [
    "Reca",
    "",
    "Reca_gated_spatial",
    "Reca_gated",
    "Reca_bf16",
    "Reca_fp32",
    "Reca_checkpoint",
    "Reca_bf16_checkpoint",
]
NAMES = [f"{n}{o}" for n in KINDS for o in OPTIONS if KINDS[n].windowed or "spatial" not in o]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("name", NAMES)
def test_a_copy_is_equal_and_independent(name, way):
    base, _, rest = name.partition("_")
    trainer = getattr(trainers, "_".join(filter(None, [f"nnUNetTrainer{base}", "tiny", rest])))
    torch.manual_seed(0)
    network = trainer.new_network(PLANS, "x", DATASET_JSON).eval()
    x = torch.randn(1, 1, *PATCH)
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

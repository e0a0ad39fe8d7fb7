"""Names and shapes of every network's state dict, in every size: trained weights depend on them.

A change of the files under ``state_dicts`` is a change that loses users' checkpoints. ``RECA_WRITE_STATE_DICTS=1``
writes them anew.
"""

import os
from pathlib import Path

import pytest
import torch
from support.plan_factory import KINDS, make_configuration, make_plans

from nnunet_reca.plans import rewrite_plan
from nnunet_reca.plans.networks import NETWORKS

FOLDER = Path(__file__).parent / "state_dicts"
PLANS = make_plans(
    **{
        "2d": make_configuration([224, 192], [[1, 1]] + [[2, 2]] * 5),
        "3d": make_configuration([32, 96, 128], [[1, 1, 1], [1, 2, 2]] + [[2, 2, 2]] * 3 + [[1, 2, 2]]),
    }
)
#: networks of one file, which differ in width and depth: PrimusS, PrimusB, PrimusM and PrimusL
FAMILIES = {name: [n for n in NETWORKS if n == name or n[:-1] == name[:-1] and "Primus" in n] for name in KINDS}
CASES = [(name, f"{d}d") for name, network in KINDS.items() for d in network.dimensions]


def lines(family: str, configuration: str) -> list[str]:
    """One line per tensor: its name, and its shape in each size, ``-`` where a size does not have it."""
    sizes = [f"{network}_{size}" for network in FAMILIES[family] for size in NETWORKS[network].sizes]
    shapes: dict[str, dict[str, str]] = {}
    for column in sizes:
        network, size = column.split("_")
        plans = rewrite_plan(PLANS, configuration, network=network, size=size, carry="sum")
        arguments = plans["configurations"][configuration]["architecture"]["arch_kwargs"]
        with torch.device("meta"):
            model = NETWORKS[network].load_class()(1, 3, **arguments)
        for name, tensor in model.state_dict().items():
            shapes.setdefault(name, {})[column] = "x".join(map(str, tensor.shape)) or "scalar"
    header = " ".join(["name", *sizes])
    return [header, *(" ".join([name, *(by.get(size, "-") for size in sizes)]) for name, by in shapes.items())]


@pytest.mark.parametrize(("network", "configuration"), CASES)
def test_names_and_shapes_stay(network, configuration):
    file = FOLDER / f"{network}_{configuration}.txt"
    found = lines(network, configuration)
    if os.environ.get("RECA_WRITE_STATE_DICTS"):
        FOLDER.mkdir(exist_ok=True)
        file.write_text("\n".join(found) + "\n", encoding="utf-8")
    assert found == file.read_text(encoding="utf-8").splitlines()

"""The table of layouts is whole, and what networks say of themselves is true."""

import importlib
import pkgutil

import pytest
import torch
from support.plan_factory import DATASET_JSON, KINDS, make_configuration, make_plans
from torch import nn

from nnunet_reca import trainers, weights
from nnunet_reca.plans.networks import NETWORKS
from nnunet_reca.weights.convert import convert
from nnunet_reca.weights.layout import Layout
from nnunet_reca.weights.layouts import known_layouts
from nnunet_reca.weights.rename import Rule, fillable

SHALLOW, MIDDLE, DEEP = (make_configuration([64, 96], [[1, 1]] + [[2, 2]] * n) for n in (3, 4, 5))


def network_of(name, configuration, channels=1):
    dataset = DATASET_JSON | {"channel_names": {str(i): f"T{i}" for i in range(channels)}}
    trainer = getattr(trainers, f"nnUNetTrainer{name}Reca_tiny")
    with torch.device("meta"):
        return trainer.new_network(make_plans(x=configuration), "x", dataset)


def shapes(network):
    return {name: tensor.shape for name, tensor in fillable(network).items() if ".seg_layers." not in name}


def differing(first, second):
    return {name for name in first.keys() & second.keys() if first[name] != second[name]}


def matching(modules, names):
    """Parameters below modules, whose names may hold ``*`` for an index."""
    parts = [module.split(".") for module in modules]
    return {
        name
        for name in names
        if any(all(a in ("*", b) for a, b in zip(p, name.split("."), strict=False)) for p in parts)
    }


def test_every_source_file_is_in_the_table():
    modules = [importlib.import_module(f"{weights.__name__}.{m.name}") for m in pkgutil.iter_modules(weights.__path__)]
    described = [layout for module in modules for layout in getattr(module, "LAYOUTS", ())]
    described += [layout for module in modules if hasattr(module, "layouts") for layout in module.layouts()]
    names = [layout.name for layout in known_layouts()]
    assert sorted(names) == sorted(layout.name for layout in described) and len(set(names)) == len(names)
    assert {layout.network for layout in known_layouts()} == {network.load_class() for network in NETWORKS.values()}


@pytest.mark.parametrize("name", KINDS)
def test_image_convolutions_are_all_that_depends_on_the_channels_of_the_image(name):
    one, two = shapes(network_of(name, MIDDLE)), shapes(network_of(name, MIDDLE, channels=2))
    convolutions = network_of(name, MIDDLE).image_convolutions
    assert differing(one, two) == {f"{convolution}.weight" for convolution in convolutions}


@pytest.mark.parametrize("name", [name for name in KINDS if "Primus" not in name])  # whose plans stop at three strides
def test_depth_dependent_modules_are_all_whose_width_depends_on_the_depth_of_the_plan(name):
    modules = NETWORKS[name].load_class().depth_dependent
    networks = [shapes(network_of(name, plan)) for plan in (SHALLOW, MIDDLE, DEEP)]
    pairs = [(first, second) for first in networks for second in networks if first is not second]
    width = {n for pair in pairs for n in differing(*pair) if not n.endswith("position_bias_table")}
    width -= {n for n in width if n.endswith("position_embedding")}  # which depend on windows and grids, too
    assert width <= matching(modules, width)
    for module in modules:  # none is superfluous: it differs, or there is none in the shallower network
        names = {n for network in networks for n in matching([module], network)}
        assert names & width or any(n not in network for network in networks for n in names), module


def test_a_layout_of_a_stranger_is_one_object_in_the_table():
    class Small(nn.Module):
        image_convolutions = ("encoder.first",)
        depth_dependent = ()

        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = nn.ModuleDict({"first": nn.Conv2d(2, 3, 3)}), nn.ModuleDict()

    layout = Layout(
        "a stranger's", Small, (r"stem\.weight",), lambda source, network: [Rule("stem(.*)", "encoder.first{0}")]
    )
    network, source = Small(), nn.Conv2d(1, 3, 3).state_dict()
    content = {"model": {f"net.stem.{name}": tensor for name, tensor in source.items()}}
    _, report = convert(content, network, [*known_layouts(), layout])
    assert report.layout == "a stranger's" and list(report.adapted) == ["encoder.first.weight"]
    assert torch.equal(network.encoder["first"].bias, source["bias"])

"""nnFormer equals the published networks."""

import pytest
import torch
from support.golden_io import golden_cases
from support.golden_network import check_network

from nnunet_reca.architectures import NnFormer
from nnunet_reca.weights import rename
from nnunet_reca.weights.nnformer import nnformer_rules, published_arguments


@pytest.mark.parametrize("case", golden_cases("NnFormer"), ids=str)
def test_golden_outputs_and_gradients_equal_the_published_network(case):
    arguments = published_arguments(case.config["constructor"], recurrent=case.recurrent)
    check_network(case, NnFormer(**arguments), nnformer_rules())


def test_published_defaults_shrink_the_window_to_a_cube_and_drop_its_shift_on_every_axis():
    """Maps of (48, 24, 24), (24, 12, 12), (12, 6, 6), (6, 3, 3) against windows of 4, 4, 8, 4."""
    arguments = published_arguments({}, recurrent=True)
    assert arguments["window_sizes"] == [4, 4, 6, 3]
    assert arguments["shift_sizes"] == [2, 2, 0, 0]
    # a window as large as the shortest side counts as covering the map, although the other sides have several windows
    arguments = published_arguments({"crop_size": [32, 64, 128], "window_size": [5, 4, 5, 1]}, recurrent=True)
    assert arguments["window_sizes"] == [5, 4, 4, 1]
    assert arguments["shift_sizes"] == [2, 2, 0, 0]


def test_published_arguments_build_the_published_network():
    arguments = published_arguments({"num_classes": 5}, recurrent=False)
    with torch.device("meta"):
        network = NnFormer(**arguments)
    assert sum(p.numel() for p in network.parameters()) == 149_265_629
    assert network.total_stride == (16, 32, 32)
    headed = published_arguments({"deep_supervision": True}, recurrent=True)
    assert headed["auxiliary_heads"] and headed["deep_supervision"] and headed["drop_path_rate"] == 0.2


@pytest.mark.parametrize(
    ("constructor", "message"),
    [({"depth": [2]}, "published nnFormer arguments, got depth"), ({"patch_size": [4, 4, 4]}, r"use \[2, 4, 4\]")],
)
def test_constructor_arguments_that_the_published_network_cannot_take_raise(constructor, message):
    with pytest.raises(ValueError, match=message):
        published_arguments(constructor, recurrent=True)


def test_unknown_name_of_an_nnformer_checkpoint_raises():
    with pytest.raises(ValueError, match="1 unknown: decoder.layers.0.gate"):
        rename({"decoder.layers.0.gate": torch.ones(1)}, nnformer_rules())

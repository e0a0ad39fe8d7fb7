"""DATransUnet equals the published networks."""

import pytest
import torch
from support.golden_io import golden_cases
from support.golden_network import check_network

from nnunet_reca.architectures import DATransUnet
from nnunet_reca.weights import rename
from nnunet_reca.weights.da_transunet import da_transunet_rules, published_arguments


@pytest.mark.parametrize("case", golden_cases("DATransUnet"), ids=str)
def test_golden_outputs_and_gradients_equal_the_published_network(case):
    arguments = published_arguments(case.config["constructor"], recurrent=case.recurrent)
    rules = da_transunet_rules(arguments["resnet_layers"], arguments["skip_attention"])
    check_network(case, DATransUnet(**arguments), rules)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resnet": True}, "got resnet"),
        ({"base_config": "get_r50_l16_config()"}, "with base_config="),
        ({"img_size": 96}, r"img_size / 16 tokens, got \[14, 14\] for \[96, 96\]"),
        ({"resnet_width_factor": 2}, r"begin with the ResNet's \[1024, 512, 128\]"),
        ({"decoder_channels": [128, 64, 32, 16]}, "head for 64 channels .* no query channels"),
        ({"decoder_channels": [512, 128, 64, 16]}, "head for 512 channels does not take a skip of 256"),
    ],
)
def test_arguments_with_which_the_published_network_cannot_run_raise(change, message):
    with pytest.raises(ValueError, match=message):
        published_arguments(change, recurrent=True)


def test_arguments_left_out_are_those_of_the_published_configuration():
    arguments = published_arguments({}, recurrent=False)
    assert arguments["grid_size"] == [14, 14] and arguments["resnet_layers"] == [3, 4, 9]
    assert arguments["skip_attention"] == [False, True, True] and arguments["carry"] == "none"


@pytest.mark.parametrize(
    ("decoder_channels", "n_skip", "used"),
    [
        ((256, 128, 64, 16), 3, ["0.da3", "1.da2"]),
        ((192, 128, 64, 16), 3, ["0.da3"]),
        ((256, 96, 48, 16), 1, ["0.da3"]),
    ],
)
def test_unused_dual_attention_heads_are_dropped_and_used_ones_kept(decoder_channels, n_skip, used):
    arguments = published_arguments({"decoder_channels": decoder_channels, "n_skip": n_skip}, recurrent=True)
    rules = da_transunet_rules(arguments["resnet_layers"], arguments["skip_attention"])
    heads = [f"decoder.blocks.{i}.{head}" for i in range(4) for head in ("da", "da2", "da3")]
    parts = ("conv5a.0.weight", "conv51.1.running_var", "sc.gamma", "conv6.1.bias", "conv8.1.bias")
    renamed = rename({f"{head}.{part}": torch.ones(1) for head in heads for part in parts}, rules)
    assert len(renamed) == 4 * len(used)
    ours_of = {u[0]: str(3 - int(u[0])) for u in used}  # published: coarsest first; ours: finest first
    assert {name.split(".skip_attention.")[0][-1] for name in renamed} == {*ours_of.values()}
    with torch.device("meta"):
        ours = DATransUnet(**arguments).state_dict()
    assert set(renamed) <= set(ours)
    assert {name for name in ours if name.endswith("out.1.bias")} == {
        "encoder.attention.out.1.bias",
        *(f"decoder.blocks.{index}.skip_attention.out.1.bias" for index in ours_of.values()),
    }

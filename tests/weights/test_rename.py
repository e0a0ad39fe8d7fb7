import pytest
import torch
from torch import nn

from nnunet_reca.weights import Rule, load_renamed, rename
from nnunet_reca.weights.swin_unetr import published_arguments, swin_unetr_rules

RULES = [
    Rule(r"old\.(weight|bias)", "0.{0}"),
    Rule(r"index", None),
    Rule(r"q", "1.weight", part=(0, 2)),
    Rule(r"k", "1.weight", part=(1, 2)),
]


def network():
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4, bias=False))


def source():
    weights = {"old.weight": torch.ones(3, 2), "old.bias": torch.zeros(3), "index": torch.arange(3)}
    return weights | {"q": torch.full((2, 3), 5.0), "k": torch.full((2, 3), 7.0)}


def test_renamed_weights_fill_the_network_and_parts_are_stacked_in_order():
    target = network()
    load_renamed(target, rename(source(), RULES))
    assert torch.equal(target[0].weight, torch.ones(3, 2))
    assert target[1].weight[:, 0].tolist() == [5, 5, 7, 7]


def test_unknown_checkpoint_key_raises():
    with pytest.raises(ValueError, match="1 unknown: surprise"):
        rename(source() | {"surprise": torch.ones(1)}, RULES)


def test_incomplete_stack_raises():
    incomplete = {n: t for n, t in source().items() if n != "k"}
    with pytest.raises(ValueError, match="every part of 1.weight"):
        rename(incomplete, RULES)


def test_two_sources_of_one_target_raise():
    with pytest.raises(ValueError, match="one source for 0.bias"):
        rename(source() | {"other": torch.zeros(3)}, [*RULES, Rule("other", "0.bias")])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.pop("0.bias"), "the weights lack 0.bias"),
        (lambda r: r.update({"2.weight": torch.ones(1)}), "the network has no 2.weight"),
        (lambda r: r.update({"0.bias": torch.ones(4)}), r"0.bias: expected \(3,\), got \(4,\)"),
    ],
)
def test_weights_of_another_shape_raise_and_nothing_is_written(change, message):
    target, renamed = network(), rename(source(), RULES)
    before = [p.clone() for p in target.parameters()]
    change(renamed)
    with pytest.raises(ValueError, match=message):
        load_renamed(target, renamed)
    assert all(torch.equal(p, b) for p, b in zip(target.parameters(), before, strict=True))


def test_counters_of_batch_norms_may_be_absent_but_running_statistics_may_not():
    norm = nn.BatchNorm1d(2)
    floats = {n: torch.full_like(t, 3.0) for n, t in norm.state_dict().items() if t.is_floating_point()}
    load_renamed(norm, floats)
    assert norm.running_var.tolist() == [3, 3]
    del floats["running_var"]
    with pytest.raises(ValueError, match="the weights lack running_var"):
        load_renamed(norm, floats)


def test_swin_unetr_rules_keep_the_same_tokens_together_in_every_merging_order():
    """Row-major ranks written into a merged map must come out sorted, whatever order the source used."""
    for dimensions, merging, order in ((2, "merging", [0, 2, 1, 3]), (3, "merging", [0, 4, 2, 1, 6, 5, 3, 7])):
        rules = swin_unetr_rules(dimensions, merging)
        weight = torch.tensor(order).repeat_interleave(3)[None]
        renamed = rename({"swinViT.layers2.0.downsample.reduction.weight": weight}, rules)
        assert renamed["encoder.downsamples.1.reduction.weight"].tolist() == [sorted(weight[0].tolist())]


def test_unknown_constructor_argument_raises():
    with pytest.raises(ValueError, match="got use_v3"):
        published_arguments({"in_channels": 1, "out_channels": 2, "use_v3": True}, recurrent=False, duplicated=False)

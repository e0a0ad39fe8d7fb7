import copy
import json

import numpy as np
import pytest
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from support.plan_factory import HIPPOCAMPUS_2D, HIPPOCAMPUS_3D, KINDS, in_old_format, make_configuration, make_plans

from nnunet_reca.blocks import NoCarry, SumCarry, SwinStage, TransformerEncoder
from nnunet_reca.plans import rewrite_plan
from nnunet_reca.plans.networks import NETWORKS

SWIN = {"network": "SwinUNETR", "size": "tiny", "carry": "sum"}


def arguments(plans, name, **options):
    rewritten = rewrite_plan(plans, name, **{**SWIN, **options})
    return rewritten["configurations"][name]["architecture"]["arch_kwargs"]


def build(plans, name, channels=1, classes=3, deep_supervision=None):
    """As nnU-Net does, from a plan that went through JSON."""
    configuration = PlansManager(json.loads(json.dumps(plans))).get_configuration(name)
    return get_network_from_plans(
        configuration.network_arch_class_name,
        configuration.network_arch_init_kwargs,
        configuration.network_arch_init_kwargs_req_import,
        channels,
        classes,
        deep_supervision=deep_supervision,
    )


@pytest.mark.parametrize("configuration", [HIPPOCAMPUS_2D, HIPPOCAMPUS_3D], ids=["2d", "3d"])
def test_nnunet_builds_the_network_from_the_rewritten_plan(configuration):
    plans = rewrite_plan(make_plans(some=configuration), "some", **SWIN)
    network = build(plans, "some", channels=2, classes=4, deep_supervision=False)
    assert type(network).__name__ == "SwinUNETR"
    assert network(torch.randn(1, 2, *configuration["patch_size"])).shape == (1, 4, *configuration["patch_size"])


def test_hippocampus_patch_trains_in_windows_without_padding():
    kwargs = arguments(make_plans(fullres=HIPPOCAMPUS_3D), "fullres")
    assert kwargs["window_sizes"] == [[5, 7, 5], [5, 7, 5]]
    assert kwargs["strides"] == [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2]]
    assert len(kwargs["depths"]) == len(kwargs["num_heads"]) == 2


def test_rewriting_leaves_the_given_plan_and_other_configurations_alone():
    plans = make_plans(a=HIPPOCAMPUS_3D, b=HIPPOCAMPUS_2D)
    before = copy.deepcopy(plans)
    rewritten = rewrite_plan(plans, "a", **SWIN)
    assert plans == before
    assert rewritten["configurations"]["b"] == before["configurations"]["b"]
    assert rewritten["continue_training"] is False


def test_rewriting_twice_changes_nothing_more():
    once = rewrite_plan(make_plans(a=HIPPOCAMPUS_3D), "a", **SWIN)
    assert rewrite_plan(once, "a", **SWIN) == once


def test_rewriting_a_cut_plan_again_starts_from_what_nnunet_planned():
    strides = [[1, 1]] + [[2, 2]] * 7
    plans = make_plans(a=make_configuration([512, 384], strides))
    planned = plans["configurations"]["a"]["architecture"]
    again = rewrite_plan(rewrite_plan(plans, "a", **SWIN), "a", **SWIN)
    assert again["configurations"]["a"]["planned_architecture"] == planned


def test_inherited_configuration_is_resolved():
    cascade = {"inherits_from": "fullres", "previous_stage": "lowres"}
    patch = {"inherits_from": "fullres", "patch_size": [48, 64, 56]}
    plans = make_plans(fullres=HIPPOCAMPUS_3D, cascade=cascade, patch=patch)
    assert arguments(plans, "cascade") == arguments(plans, "fullres")
    assert arguments(plans, "patch")["window_sizes"] == [[6, 8, 7], [6, 8, 7]]
    rewritten = rewrite_plan(plans, "cascade", **SWIN)
    configuration = PlansManager(rewritten).get_configuration("cascade")
    assert configuration.network_arch_class_name.endswith("SwinUNETR")
    assert configuration.patch_size == [40, 56, 40]


def test_own_architecture_wins_over_what_a_rewritten_parent_planned():
    own = {"inherits_from": "fullres", "architecture": copy.deepcopy(HIPPOCAMPUS_3D["architecture"])}
    own["architecture"]["arch_kwargs"].update(strides=[[1] * 3, [2] * 3, [2] * 3], kernel_sizes=[[3] * 3] * 3)
    plans = rewrite_plan(make_plans(fullres=HIPPOCAMPUS_3D, own=own), "fullres", **SWIN)
    assert len(arguments(plans, "own")["strides"]) == 3


def test_old_format_gives_the_network_of_the_new_one_and_can_be_rewritten_again():
    plans = make_plans(a=in_old_format(HIPPOCAMPUS_3D), child={"inherits_from": "a", "batch_size": 5})
    for name in ("a", "child"):
        once = rewrite_plan(plans, name, **SWIN)
        assert once["configurations"][name]["architecture"]["arch_kwargs"] == arguments(
            make_plans(a=HIPPOCAMPUS_3D), "a"
        )
        assert rewrite_plan(once, name, **SWIN) == once
        read = PlansManager(once).get_configuration(name)
        assert read.pool_op_kernel_sizes == HIPPOCAMPUS_3D["architecture"]["arch_kwargs"]["strides"]


def test_child_of_a_rewritten_parent_keeps_its_own_topology_in_the_old_format():
    shallow = in_old_format(make_configuration([40, 56, 40], [[1] * 3, [2] * 3, [2] * 3]))
    plans = make_plans(a=in_old_format(HIPPOCAMPUS_3D), child={"inherits_from": "a", **shallow})
    assert len(arguments(rewrite_plan(plans, "a", **SWIN), "child")["strides"]) == 3


def test_anisotropic_strides_merge_only_those_axes():
    strides = [[1, 1, 1], [1, 2, 2], [1, 2, 2], [2, 2, 2], [2, 2, 2]]
    plans = make_plans(fullres=make_configuration([20, 256, 224], strides))
    kwargs = arguments(plans, "fullres")
    assert kwargs["strides"] == strides
    assert kwargs["window_sizes"] == [[5, 8, 7], [5, 8, 7], [5, 8, 7]]


def test_deeper_plans_stop_at_the_published_depth():
    strides = [[1, 1]] + [[2, 2]] * 7
    kwargs = arguments(make_plans(a=make_configuration([512, 384], strides)), "a", size="base")
    assert kwargs["strides"] == strides[:6] and kwargs["depths"] == [2, 2, 2, 2]
    assert kwargs["feature_size"] == 48 and kwargs["num_heads"] == [3, 6, 12, 24]


def test_twins_differ_only_in_the_switch():
    plans = make_plans(a=HIPPOCAMPUS_3D)
    reca, sa = (arguments(plans, "a", carry=c) for c in ("sum", "none"))
    assert reca.pop("carry") == "sum" and sa.pop("carry") == "none"
    assert reca == sa


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        (make_configuration([8, 8], [[1, 1], [2, 2]]), "at least 2 poolings for SwinUNETR, got 1"),
        (make_configuration([4, 4], [[1, 1], [2, 2], [2, 2]]), "more than one voxel at the bottleneck"),
    ],
)
def test_plans_that_do_not_suit_the_network_say_why(configuration, message):
    with pytest.raises(ValueError, match=message):
        rewrite_plan(make_plans(a=configuration), "a", **SWIN)


def test_unknown_configuration_lists_the_plans_own():
    with pytest.raises(ValueError, match=r"\['2d', 'b'\], got '3d_lowres'"):
        rewrite_plan(make_plans(**{"2d": HIPPOCAMPUS_2D, "b": HIPPOCAMPUS_3D}), "3d_lowres", **SWIN)


def test_circular_inheritance_raises():
    with pytest.raises(ValueError, match="without a circle"):
        rewrite_plan(make_plans(a={"inherits_from": "b"}, b={"inherits_from": "a"}), "a", **SWIN)


PATCHES = {
    "2d": make_configuration([56, 40], [[1, 1], [2, 2], [2, 2], [2, 2]]),
    "2d_deep": make_configuration([320, 192], [[1, 1]] + [[2, 2]] * 5 + [[2, 1]]),
    "2d_elongated": make_configuration([64, 256], [[1, 1], [1, 2], [2, 2], [2, 2], [2, 2]]),
    "3d": HIPPOCAMPUS_3D,
    "3d_anisotropic": make_configuration(
        [10, 96, 128], [[1] * 3, [1, 2, 2], [1, 2, 2], [2, 2, 2], [1, 2, 2], [1, 2, 2]]
    ),
    "3d_lowres": make_configuration([96, 80, 112], [[1] * 3] + [[2] * 3] * 4),
}


@pytest.mark.parametrize("configuration", PATCHES)
@pytest.mark.parametrize("network", KINDS)
@pytest.mark.parametrize("size", ["tiny", "base"])
def test_every_network_fits_every_plan(network, configuration, size):
    """Output sizes, and nnU-Net's deep-supervision scales, without allocating memory."""
    patch = PATCHES[configuration]["patch_size"]
    if len(patch) not in NETWORKS[network].dimensions:
        with pytest.raises(ValueError, match=f"expected a 2D configuration for {network}, got {configuration} .* 2d"):
            rewrite_plan(make_plans(**PATCHES), configuration, network=network, size=size, carry="sum")
        return
    plans = rewrite_plan(make_plans(**PATCHES), configuration, network=network, size=size, carry="sum")
    with torch.device("meta"):
        model = build(plans, configuration, channels=2, classes=4, deep_supervision=True)
        outputs = model(torch.empty(2, 2, *patch))
    strides = PlansManager(plans).get_configuration(configuration).pool_op_kernel_sizes
    scales = (1 / np.cumprod(np.vstack(strides), axis=0))[: -1 if NETWORKS[network].deep_supervision else 1]
    expected = [(2, 4, *(round(side * f) for side, f in zip(patch, scale, strict=True))) for scale in scales]
    assert [tuple(o.shape) for o in outputs] == expected


def test_the_carry_reaches_the_chains_of_every_networks_encoder():
    for network, kind in KINDS.items():
        carry = "sum_spatial" if kind.windowed else "sum"
        model = build(rewrite_plan(make_plans(**PATCHES), "2d", network=network, size="tiny", carry=carry), "2d")
        chains = [m for m in model.modules() if isinstance(m, SwinStage | TransformerEncoder)]
        assert chains == [m for m in model.modules() if hasattr(m, "carry")]
        in_encoder = [m for m in model.encoder.modules() if m in chains]
        assert in_encoder and all(type(m.carry) is (SumCarry if m in in_encoder else NoCarry) for m in chains)
        assert all(m.spatial == kind.windowed for m in in_encoder if isinstance(m, SwinStage))

"""Whatever nnU-Net can plan, every network takes: drawn fingerprints through nnU-Net's own planners.

``RECA_PLANS`` sets how many are drawn.
"""

import os

import numpy as np
import pytest
import torch
from fingerprints import PLANNERS, plan
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_reca.plans import rewrite_plan
from nnunet_reca.plans.networks import NETWORKS

DRAWN = int(os.environ.get("RECA_PLANS", "25"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plans")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("raw", "preprocessed", "results"):
            (folder / name).mkdir()
            patch.setenv(f"nnUNet_{name}", str(folder / name))
        yield folder


@st.composite
def data_sets(draw):
    dimensions = draw(st.sampled_from([2, 3, 3]))
    shape = draw(st.lists(st.integers(16, 600), min_size=dimensions, max_size=dimensions))
    spacing = draw(st.lists(st.floats(0.3, 10.0), min_size=dimensions, max_size=dimensions))
    if dimensions == 2:
        shape, spacing = [1, *shape], [999.0, *spacing]
    return {
        "planner": draw(st.sampled_from(PLANNERS)),
        "shape": shape,
        "spacing": spacing,
        "channels": draw(st.integers(1, 4)),
        "classes": draw(st.integers(2, 30)),
        "cases": draw(st.integers(5, 1000)),
    }


def check(plans, configuration, network, size, channels, classes):
    """Output sizes at nnU-Net's own deep-supervision scales, gradients of all parameters, and a stable state dict.

    Where nnU-Net plans a single pooling, for the smallest images, the networks say that they need two.
    """
    planned = PlansManager(plans).get_configuration(configuration).pool_op_kernel_sizes
    if len(planned) < 3:
        with pytest.raises(ValueError, match="at least 2 poolings"):
            rewrite_plan(plans, configuration, network=network, size=size, recurrent=True)
        return
    rewritten = rewrite_plan(plans, configuration, network=network, size=size, recurrent=True)
    chosen = PlansManager(rewritten).get_configuration(configuration)

    def build(deep_supervision):
        return get_network_from_plans(
            chosen.network_arch_class_name,
            chosen.network_arch_init_kwargs,
            chosen.network_arch_init_kwargs_req_import,
            channels,
            classes,
            allow_init=False,
            deep_supervision=deep_supervision,
        )

    with torch.device("meta"):
        model, plain = build(True), build(False)
        outputs = model(torch.empty(2, channels, *chosen.patch_size))
        sum(o.sum() for o in outputs).backward()
    scales = (1 / np.cumprod(np.vstack(chosen.pool_op_kernel_sizes), axis=0))[:-1]
    expected = [[round(side * f) for side, f in zip(chosen.patch_size, scale, strict=True)] for scale in scales]
    assert [list(o.shape) for o in outputs] == [[2, classes, *sides] for sides in expected]
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    assert {n: t.shape for n, t in model.state_dict().items()} == {n: t.shape for n, t in plain.state_dict().items()}


@settings(
    max_examples=DRAWN,
    deadline=None,
    derandomize=DRAWN <= 25,
    phases=[Phase.explicit, Phase.generate],  # shrinking replans for minutes, and a drawn data set is short already
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=data_sets())
def test_every_network_of_every_size_fits_whatever_nnunet_plans(folder, data):
    plans, _ = plan(folder, **data)
    for configuration in plans["configurations"]:
        resolved = PlansManager(plans).get_configuration(configuration)
        for network, kind in NETWORKS.items():
            if len(resolved.patch_size) in kind.dimensions:
                for size in ("tiny", "base"):
                    check(plans, configuration, network, size, data["channels"], data["classes"])

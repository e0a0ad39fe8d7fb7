"""Whatever nnU-Net can plan, every network takes: drawn fingerprints through nnU-Net's own planners.

``RECA_PLANS`` sets how many are drawn, half of them by each of two tests, which can run beside each other; CI draws
more of them in a job of its own.
"""

import json
import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from support.fingerprints import PLANNERS, plan
from support.plan_factory import KINDS
from support.shape_check import check_network, shapes_only

from nnunet_reca.plans import rewrite_plan

DRAWN = int(os.environ.get("RECA_PLANS", "60"))


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


class PlanChecker:
    """Checks plans, each network of equal arguments and patch size once; counts what it saw."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.seen: set[str] = set()
        self.counts = Counter()

    def check(self, data) -> None:
        """Plan a data set and check every network of every size in all its configurations.

        Where nnU-Net pools once only, for images of 8 to 15 voxels, all but Primus say that they need two poolings.
        """
        plans, _ = plan(self.folder, **data)
        self.counts["plans"] += 1
        for name in plans["configurations"]:
            planned = PlansManager(plans).get_configuration(name)
            self.counts["configurations"] += 1
            for network in [n for n, kind in KINDS.items() if len(planned.patch_size) in kind.dimensions]:
                # Primus takes the same from a plan in every size, and its deep base networks take minutes
                for size in ("tiny",) if "Primus" in network else ("tiny", "base"):
                    arguments = {"network": network, "size": size, "carry": "sum"}
                    if len(planned.pool_op_kernel_sizes) <= KINDS[network].poolings[0]:
                        with pytest.raises(ValueError, match="at least 2 poolings"):
                            rewrite_plan(plans, name, **arguments)
                        self.counts["refused"] += 1
                    else:
                        self._check(rewrite_plan(plans, name, **arguments), name, data, stable=size == "tiny")

    def _check(self, plans, name, data, *, stable) -> None:
        configuration = PlansManager(plans).get_configuration(name)
        self.counts["networks"] += 1
        key = json.dumps([configuration.configuration["architecture"], configuration.patch_size])
        if key not in self.seen:
            check_network(configuration, data["channels"], data["classes"], stable=stable)
            self.seen.add(key)


def check_drawn(folder, half) -> Counter:
    """Check half of the plans; the other half is another sequence of draws."""
    checker = PlanChecker(folder)

    @seed(half)
    @settings(
        max_examples=max(1, DRAWN // 2),
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],  # shrinking replans for minutes, and a drawn data set is short already
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(data=data_sets())
    def draw(data):
        checker.check(data)

    with shapes_only():
        draw()
    print(f"{dict(checker.counts)}, different networks: {len(checker.seen)}")
    return checker.counts


class TestFirstHalf:
    def test_every_network_of_every_size_fits_whatever_nnunet_plans(self, folders):
        counts = check_drawn(folders, 0)
        assert counts["networks"] > 10 * counts["refused"]


class TestSecondHalf:
    def test_every_network_of_every_size_fits_whatever_nnunet_plans(self, folders):
        counts = check_drawn(folders, 1)
        assert counts["networks"] > 10 * counts["refused"]

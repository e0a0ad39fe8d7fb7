"""SwinUNETR from a plan."""

from typing import Any

from nnunet_reca.plans.geometry import Geometry
from nnunet_reca.plans.network import Network, NetworkSize, stage_arguments

#: Hatamizadeh et al. 2022; the RecA paper trains the same size.
BASE: NetworkSize = {
    "feature_size": 48,
    "depths": [2, 2, 2, 2],
    "num_heads": [3, 6, 12, 24],
    "windows": [7, 7, 7, 7],
}
#: Chosen by measurement (benchmarks/tiny_size.py): on two CPU threads width 12 learns more per second than width 24,
#: whose time goes to convolutions at full resolution; heads are 12 wide.
TINY: NetworkSize = {**BASE, "feature_size": 12, "num_heads": [1, 2, 4, 8]}


def plan_arguments(geometry: Geometry, size: NetworkSize) -> dict[str, Any]:
    """Arguments of :class:`nnunet_reca.architectures.SwinUNETR`: s_1 embeds patches, stage i merges by s_{i+1}."""
    return {
        "strides": [list(s) for s in geometry.strides],
        "feature_size": size["feature_size"],
        **stage_arguments(size, geometry.map_sizes()[1:-1]),
        "kernel_sizes": [list(k) for k in geometry.kernel_sizes],
    }


SWIN_UNETR = Network(
    name="SwinUNETR",
    title="SwinUNETR, carry in the encoder's stages",
    class_path="nnunet_reca.architectures.swin_unetr.SwinUNETR",
    sizes={"base": BASE, "tiny": TINY},
    plan_arguments=plan_arguments,
    poolings=(2, 5),
)

"""Primus from a plan: three versions in four published sizes, each trained under a name of its own."""

from typing import Any

from nnunet_reca.plans.geometry import Geometry
from nnunet_reca.plans.network import Network, NetworkSize

#: Wald et al. 2025, table of sizes; dynamic_network_architectures' ``_PRIMUS_CONFIGS``.
WIDTHS: dict[str, NetworkSize] = {
    "S": {"embed_dim": 396, "depth": 12, "num_heads": 6},
    "B": {"embed_dim": 792, "depth": 12, "num_heads": 12},
    "M": {"embed_dim": 864, "depth": 16, "num_heads": 12},
    "L": {"embed_dim": 1056, "depth": 24, "num_heads": 16},
}
#: For CPUs and quick looks; heads of 48 channels, which rotary embeddings of two and of three axes fill. PrimusV3S-RecA
#: of this size has validation Dice 0.743 after 400 steps on the example data with the tiny recipe's learning rate 4e-3,
#: 0.707 with 1e-3; a stem half as wide again, with 2e-3, 0.758 for 1.4 times the time (benchmarks/tiny_size.py).
TINY: NetworkSize = {"embed_dim": 144, "depth": 6, "num_heads": 3}
#: at full resolution and after each stride, by version
STEM_CHANNELS = {1: [], 2: [32, 32, 64, 128], 3: [32, 64, 256, 1024]}
TINY_STEM_CHANNELS = {1: [], 2: [8, 16, 32, 64], 3: [8, 16, 32, 64]}
#: in which the published training differs from our recipe, by which see :mod:`nnunet_reca.trainers.recipe`
BETAS = {"betas": (0.9, 0.98)}
#: Version 1 alone has no stem, and learns less with the tiny recipe's 4e-3: validation Dice 0.498 after 1,000 steps on
#: 100 hippocampus scans, 0.597 with this one; 2e-3 has 0.599, and after 2,000 steps 0.667 on the other 100, where this
#: one has 0.716 (self-attention; docs/evidence.md).
TINY_RATES = {1: {"initial_lr": 1e-3}}


def plan_arguments(geometry: Geometry, size: NetworkSize) -> dict[str, Any]:
    """Arguments of :class:`nnunet_reca.architectures.Primus`: the plan's first strides, up to three, make a token.

    nnU-Net's planners pool by 1 or 2, so that a token has at most 8 voxels per axis.
    """
    return {
        **size,
        "strides": [list(s) for s in geometry.strides],
        "grid_size": list(geometry.map_sizes()[-1]),
        "stem_channels": size["stem_channels"][: geometry.poolings + 1],
    }


def _network(version: int, width: str) -> Network:
    title = f"Primus{'' if version == 1 else f'V{version}'}-{width}"
    sizes = {"base": {"version": version, **WIDTHS[width], "stem_channels": STEM_CHANNELS[version]}}
    if width == "S":
        sizes["tiny"] = {"version": version, **TINY, "stem_channels": TINY_STEM_CHANNELS[version]}
    return Network(
        name=title.replace("-", ""),
        title=f"{title}, carry through all layers of the transformer",
        class_path="nnunet_reca.architectures.primus.Primus",
        sizes=sizes,
        plan_arguments=plan_arguments,
        poolings=(1, 3),
        windowed=False,
        deep_supervision=False,
        recipes={"base": BETAS, "tiny": {**BETAS, **TINY_RATES.get(version, {})}},
    )


#: nnU-Net's spelling: PrimusS ... PrimusL, PrimusV2S ..., PrimusV3S ...
PRIMUS = tuple(_network(version, width) for version in (1, 2, 3) for width in WIDTHS)

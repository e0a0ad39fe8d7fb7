"""nnFormer from a plan."""

from typing import Any

from nnunet_reca.plans.geometry import Geometry
from nnunet_reca.plans.network import Network, NetworkSize, stage_arguments, token_pyramid

#: Zhou et al. 2023, and the RecA code's defaults.
BASE: NetworkSize = {
    "embed_dim": 192,
    "depths": [2, 2, 2, 2],
    "num_heads": [6, 12, 24, 48],
    "windows": [4, 4, 8, 4],
}
TINY: NetworkSize = {**BASE, "embed_dim": 48, "num_heads": [2, 4, 8, 16]}


def plan_arguments(geometry: Geometry, size: NetworkSize) -> dict[str, Any]:
    """Arguments of :class:`nnunet_reca.architectures.NnFormer`: s_1 s_2 embed patches, stages merge by s_3 and on."""
    embed, merges, maps = token_pyramid(geometry)
    return {
        "strides": [list(geometry.strides[0]), *merges],
        "patch_embed_strides": embed,
        "embed_dim": size["embed_dim"],
        **stage_arguments(size, maps),
    }


NNFORMER = Network(
    name="NnFormer",
    title="nnFormer, carry in the encoder's stages",
    class_path="nnunet_reca.architectures.nnformer.NnFormer",
    sizes={"base": BASE, "tiny": TINY},
    plan_arguments=plan_arguments,
    poolings=(2, 5),
)

"""Swin-Unet from a plan."""

from typing import Any

from nnunet_reca.plans.geometry import Geometry
from nnunet_reca.plans.network import Network, NetworkSize, stage_arguments, token_pyramid

#: Cao et al. 2022 with the depths of Swin-T, which the RecA paper trains (41.3 M parameters) and ImageNet weights fit.
BASE: NetworkSize = {
    "embed_dim": 96,
    "depths": [2, 2, 6, 2],
    "num_heads": [3, 6, 12, 24],
    "windows": [7, 7, 7, 7],
}
TINY: NetworkSize = {**BASE, "embed_dim": 48, "depths": [2, 2, 2, 2]}


def plan_arguments(geometry: Geometry, size: NetworkSize) -> dict[str, Any]:
    """Arguments of :class:`nnunet_reca.architectures.SwinUnet`: patches of s_1 s_2, stages merge by s_3 and on."""
    embed, merges, maps = token_pyramid(geometry)
    patch = [a * b for a, b in zip(*embed, strict=True)]
    return {
        "strides": [list(geometry.strides[0]), patch, *merges],
        "embed_dim": size["embed_dim"],
        **stage_arguments(size, maps),
    }


SWIN_UNET = Network(
    name="SwinUnet",
    title="Swin-Unet, carry in the encoder's stages",
    class_path="nnunet_reca.architectures.swin_unet.SwinUnet",
    sizes={"base": BASE, "tiny": TINY},
    plan_arguments=plan_arguments,
    poolings=(2, 5),
)

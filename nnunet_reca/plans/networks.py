"""Arguments of each network from a plan's geometry and a preset."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nnunet_reca.plans.geometry import Geometry, Size, window_size

Preset = Mapping[str, Any]


def swin_unetr_arguments(geometry: Geometry, preset: Preset) -> dict[str, Any]:
    """Arguments of :class:`nnunet_reca.architectures.SwinUNETR`: s_1 embeds patches, stage i merges by s_{i+1}."""
    return {
        "strides": [list(s) for s in geometry.strides],
        "feature_size": preset["feature_size"],
        **_stage_arguments(preset, geometry.map_sizes()[1:-1]),
        "kernel_sizes": [list(k) for k in geometry.kernel_sizes],
    }


def nnformer_arguments(geometry: Geometry, preset: Preset) -> dict[str, Any]:
    """Arguments of :class:`nnunet_reca.architectures.NnFormer`: s_1 s_2 embed patches, stages merge by s_3 and on."""
    embed, merges, maps = _token_pyramid(geometry)
    return {
        "strides": [list(geometry.strides[0]), *merges],
        "patch_embed_strides": embed,
        "embed_dim": preset["embed_dim"],
        **_stage_arguments(preset, maps),
    }


def swin_unet_arguments(geometry: Geometry, preset: Preset) -> dict[str, Any]:
    """Arguments of :class:`nnunet_reca.architectures.SwinUnet`: patches of s_1 s_2, stages merge by s_3 and on."""
    embed, merges, maps = _token_pyramid(geometry)
    patch = [a * b for a, b in zip(*embed, strict=True)]
    return {
        "strides": [list(geometry.strides[0]), patch, *merges],
        "embed_dim": preset["embed_dim"],
        **_stage_arguments(preset, maps),
    }


def _token_pyramid(geometry: Geometry) -> tuple[list[list[int]], list[list[int]], list[Size]]:
    """Two strides that embed patches, those that merge them, and the token maps of the stages.

    A plan of two poolings embeds by the first only, so that one is left to merge.
    """
    strides = [list(s) for s in geometry.strides]
    if geometry.poolings == 2:
        return [strides[1], strides[0]], strides[2:], geometry.map_sizes()[1:]
    return strides[1:3], strides[3:], geometry.map_sizes()[2:]


def da_transunet_arguments(geometry: Geometry, preset: Preset) -> dict[str, Any]:
    """Arguments of :class:`nnunet_reca.architectures.DATransUNet`: all strides in the ResNet, the ViT behind it.

    Shallower plans keep the finest levels of the ResNet and the decoder.
    """
    return {
        **preset,
        "strides": [list(s) for s in geometry.strides],
        "grid_size": list(geometry.map_sizes()[-1]),
        "resnet_layers": preset["resnet_layers"][: geometry.poolings - 1],
        "decoder_channels": preset["decoder_channels"][-geometry.poolings :],
    }


def _stage_arguments(preset: Preset, maps: list[Size]) -> dict[str, Any]:
    """Depth, heads and window of the stages, one for each token map."""
    return {
        "depths": preset["depths"][: len(maps)],
        "num_heads": preset["num_heads"][: len(maps)],
        "window_sizes": [window_size(m, w) for m, w in zip(maps, preset["windows"], strict=False)],
    }


@dataclass(frozen=True)
class Network:
    """How a network is built from a plan.

    Attributes:
        class_path: of the network, importable.
        arguments: keyword arguments from geometry and preset.
        poolings: fewest and most poolings; deeper plans stop at the most, the published depth.
        dimensions: of the patches it takes.
        windowed: has windows, whose carry can be aligned.
    """

    class_path: str
    arguments: Callable[[Geometry, Preset], dict[str, Any]]
    poolings: tuple[int, int]
    dimensions: tuple[int, ...] = (2, 3)
    windowed: bool = True

    def fitted(self, geometry: Geometry, name: str, configuration: str) -> Geometry:
        """The geometry cut to the network's depth.

        Raises:
            ValueError: if the configuration does not suit the network.
        """
        fewest, most = self.poolings
        if len(geometry.patch_size) not in self.dimensions:
            raise ValueError(
                f"expected a 2D configuration for {name}, got {configuration} with patch size "
                f"{list(geometry.patch_size)}; use the configuration 2d"
            )
        if geometry.poolings < fewest:
            raise ValueError(
                f"expected {configuration} to have at least {fewest} poolings for {name}, got {geometry.poolings} for "
                f"patch size {list(geometry.patch_size)}; plan a larger patch, or use another network"
            )
        geometry = geometry.cut(most)
        bottleneck = geometry.map_sizes()[-1]
        if max(bottleneck) < 2:
            raise ValueError(
                f"expected {configuration} to leave more than one voxel at the bottleneck, got {list(bottleneck)} for "
                f"patch size {list(geometry.patch_size)}; plan a larger patch or drop the last stride"
            )
        return geometry


#: name of a network, as in trainer names -> how it is built
NETWORKS: dict[str, Network] = {
    "SwinUNETR": Network("nnunet_reca.architectures.swin_unetr.SwinUNETR", swin_unetr_arguments, (2, 5)),
    "NnFormer": Network("nnunet_reca.architectures.nnformer.NnFormer", nnformer_arguments, (2, 5)),
    "SwinUnet": Network("nnunet_reca.architectures.swin_unet.SwinUnet", swin_unet_arguments, (2, 5)),
    "DATransUnet": Network(
        "nnunet_reca.architectures.da_transunet.DATransUNet",
        da_transunet_arguments,
        (2, 4),
        dimensions=(2,),
        windowed=False,
    ),
}

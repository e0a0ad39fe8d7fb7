"""What a network needs beside its architecture: names, sizes, arguments from a plan, and what it can take."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nnunet_reca.plans.geometry import Geometry, Size, window_size

if TYPE_CHECKING:
    from torch import nn

NetworkSize = Mapping[str, Any]


@dataclass(frozen=True)
class Network:
    """How a network is built from a plan; free of imports that take time.

    Attributes:
        name: in trainer names.
        title: in sentences, and what its carry runs through.
        class_path: of the network, importable.
        sizes: name of a size -> what ``plan_arguments`` takes of it; "base" is the published one.
        plan_arguments: keyword arguments of the network from geometry and size, all but the carry.
        poolings: fewest and most poolings; deeper plans stop at the most, the published depth.
        dimensions: of the patches it takes.
        windowed: its carry passes from window to window, which ``_spatial`` aligns.
        deep_supervision: has heads at coarser scales, too.
        recipes: name of a size -> fields of :class:`nnunet_reca.trainers.recipe.Recipe` in which its training differs.
    """

    name: str
    title: str
    class_path: str
    sizes: Mapping[str, NetworkSize]
    plan_arguments: Callable[[Geometry, NetworkSize], dict[str, Any]]
    poolings: tuple[int, int]
    dimensions: tuple[int, ...] = (2, 3)
    windowed: bool = True
    deep_supervision: bool = True
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def load_class(self) -> "type[nn.Module]":
        """The network's class, imported."""
        module, _, name = self.class_path.rpartition(".")
        return getattr(importlib.import_module(module), name)

    def fitted(self, geometry: Geometry, configuration: str) -> Geometry:
        """The geometry cut to the network's depth.

        Args:
            geometry: of the configuration.
            configuration: its name, for messages.

        Raises:
            ValueError: if the configuration does not suit the network.
        """
        fewest, most = self.poolings
        if len(geometry.patch_size) not in self.dimensions:
            raise ValueError(
                f"expected a 2D configuration for {self.name}, got {configuration} with patch size "
                f"{list(geometry.patch_size)}; use the configuration 2d"
            )
        if geometry.poolings < fewest:
            raise ValueError(
                f"expected {configuration} to have at least {fewest} poolings for {self.name}, got "
                f"{geometry.poolings} for patch size {list(geometry.patch_size)}; plan a larger patch, or use another "
                "network"
            )
        geometry = geometry.shallower(most)
        bottleneck = geometry.map_sizes()[-1]
        if max(bottleneck) < 2:
            raise ValueError(
                f"expected {configuration} to leave more than one voxel at the bottleneck, got {list(bottleneck)} for "
                f"patch size {list(geometry.patch_size)}; plan a larger patch or drop the last stride"
            )
        return geometry


def stage_arguments(size: NetworkSize, maps: Sequence[Size]) -> dict[str, Any]:
    """Depth, heads and window of the stages of Swin blocks, one for each token map."""
    return {
        "depths": size["depths"][: len(maps)],
        "num_heads": size["num_heads"][: len(maps)],
        "window_sizes": [window_size(m, w) for m, w in zip(maps, size["windows"], strict=False)],
    }


def token_pyramid(geometry: Geometry) -> tuple[list[list[int]], list[list[int]], list[Size]]:
    """Two strides that embed patches, those that merge them, and the token maps of the stages.

    A plan of two poolings embeds by the first only, so that one is left to merge.
    """
    strides = [list(s) for s in geometry.strides]
    if geometry.poolings == 2:
        return [strides[1], strides[0]], strides[2:], geometry.map_sizes()[1:]
    return strides[1:3], strides[3:], geometry.map_sizes()[2:]

"""Geometry of a plan's configuration: strides, feature-map sizes and attention windows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from nnunet_reca.plans.topology import planned_topology

Size = tuple[int, ...]


@dataclass(frozen=True)
class Geometry:
    """What a network takes from a configuration.

    Attributes:
        patch_size: nnU-Net's crop in voxels, per axis.
        strides: s_0 = 1, then one stride per pooling and axis.
        kernel_sizes: of the convolutions at each level, as many as strides.
    """

    patch_size: Size
    strides: tuple[Size, ...]
    kernel_sizes: tuple[Size, ...]

    @classmethod
    def from_configuration(cls, configuration: Mapping[str, Any], *, name: str = "configuration") -> "Geometry":
        """Read a resolved configuration of an nnU-Net plan, of any 2.x format, see :func:`planned_topology`.

        Args:
            configuration: with a ``patch_size``, and strides where its format has them.
            name: of the configuration, for messages.

        Raises:
            ValueError: if entries are missing or do not fit each other.
        """
        if not configuration.get("patch_size"):
            raise ValueError(
                f"expected {name} to have a patch_size, got {sorted(configuration)}; plan with nnUNetv2_plan_experiment"
            )
        strides, kernels = planned_topology(configuration, name=name)
        patch_size = tuple(int(p) for p in configuration["patch_size"])
        dimensions = len(patch_size)
        strides = tuple(_per_axis(s, dimensions) for s in strides)
        kernels = [kernels] * len(strides) if isinstance(kernels, int) else kernels
        kernel_sizes = tuple(_per_axis(k, dimensions) for k in kernels)
        geometry = cls(patch_size, strides, kernel_sizes)
        geometry._check(name)
        return geometry

    def _check(self, name: str) -> None:
        if len(self.patch_size) not in (2, 3) or any(p < 1 for p in self.patch_size):
            raise ValueError(
                f"expected {name} to have a patch size of 2 or 3 positive sides, got {self.patch_size}; "
                "correct patch_size in the plans file"
            )
        if len(self.kernel_sizes) != len(self.strides):
            raise ValueError(
                f"expected {name} to have as many kernel_sizes as strides, got {len(self.kernel_sizes)} and "
                f"{len(self.strides)}; correct them in the plans file"
            )
        if any(s != 1 for s in self.strides[0]) or any(s < 1 for stride in self.strides for s in stride):
            raise ValueError(
                f"expected {name} to have positive strides that begin with 1, got {list(map(list, self.strides))}; "
                "correct strides in the plans file"
            )
        for axis, side in enumerate(self.patch_size):
            total = self.total_stride[axis]
            if side % total:
                below, above = side // total * total, -(-side // total) * total
                raise ValueError(
                    f"expected {name} to have a patch size divisible by its strides, got {side} on axis {axis}, which "
                    f"is not divisible by {total}; use {f'{below} or {above}' if below else above}"
                )

    @property
    def poolings(self) -> int:
        """Number of strides after the leading 1."""
        return len(self.strides) - 1

    @property
    def total_stride(self) -> Size:
        """Product of all strides, per axis."""
        return tuple(math.prod(per_axis) for per_axis in zip(*self.strides, strict=True))

    def map_sizes(self) -> list[Size]:
        """Feature-map sizes at levels 0 (the patch) to n (the bottleneck)."""
        sizes = [self.patch_size]
        for stride in self.strides[1:]:
            sizes.append(tuple(side // s for side, s in zip(sizes[-1], stride, strict=True)))
        return sizes

    def shallower(self, poolings: int) -> "Geometry":
        """The same geometry with at most ``poolings`` poolings, the last ones dropped."""
        return Geometry(self.patch_size, self.strides[: poolings + 1], self.kernel_sizes[: poolings + 1])


def window_size(map_size: Sequence[int], preferred: int) -> list[int]:
    """Attention window for a token map: per axis the one that pads least, the nearest to ``preferred`` among equals.

    Candidates go from two thirds of the preferred window to one token more than it (5 to 8 for 7, 3 to 5 for 4); an
    axis no longer than the largest becomes one window.

    Args:
        map_size: tokens per axis.
        preferred: the published window.
    """
    candidates = range(preferred - preferred // 3, preferred + 2)
    return [
        side if side <= candidates[-1] else min(candidates, key=partial(_window_cost, side, preferred))
        for side in map_size
    ]


def _window_cost(side: int, preferred: int, window: int) -> tuple[int, int, int]:
    return -side % window, abs(window - preferred), window


def _per_axis(value: int | Sequence[int], dimensions: int) -> Size:
    """nnU-Net allows a number or one per axis; always one per axis here, as plain ints."""
    if isinstance(value, int):
        return (value,) * dimensions
    if len(value) != dimensions:
        raise ValueError(f"expected one value per axis of a {dimensions}D patch, got {list(value)}")
    return tuple(int(v) for v in value)

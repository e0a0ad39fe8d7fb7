"""From a voxel of the image to the network's input and back: nnU-Net transposes, crops, resamples and cuts patches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Index = tuple[int, ...]


@dataclass(frozen=True)
class Grid:
    """How the array of an image lies on the preprocessed one; axes of both are numbered as nnU-Net's plan has them.

    Attributes:
        shape: of the image's array, three axes.
        transpose: preprocessed axis a is the image's axis ``transpose[a]``.
        crop: first and last + 1 index of the crop, per preprocessed axis.
        resampled: shape of the preprocessed image.
    """

    shape: Index
    transpose: Index
    crop: tuple[tuple[int, int], ...]
    resampled: Index

    @classmethod
    def of(
        cls, shape: Sequence[int], transpose: Sequence[int], properties: Mapping[str, Any], resampled: Index
    ) -> "Grid":
        """Grid from what nnU-Net's preprocessor notes down."""
        crop = tuple((int(low), int(high)) for low, high in properties["bbox_used_for_cropping"])
        return cls(tuple(shape), tuple(transpose), crop, tuple(resampled))

    def to_preprocessed(self, voxel: Sequence[int]) -> Index:
        """Index in the preprocessed image of a voxel of the image.

        Raises:
            ValueError: if the voxel lies outside the image, or in the empty border that nnU-Net crops.
        """
        if len(voxel) != len(self.shape) or any(not 0 <= v < s for v, s in zip(voxel, self.shape, strict=True)):
            raise ValueError(
                f"expected a voxel inside the image's array of shape {self.shape}, got {tuple(voxel)}; "
                "indices are in the array's order (SimpleITK's: Z Y X) and start at 0"
            )
        index = [int(self.positions(axis)[voxel[self.transpose[axis]]]) for axis in range(len(self.shape))]
        if min(index) < 0:
            low = [self.crop[self.transpose.index(a)][0] for a in range(3)]
            high = [self.crop[self.transpose.index(a)][1] - 1 for a in range(3)]
            raise ValueError(
                f"expected a voxel inside the image's non-zero region, from {low} to {high}, got {tuple(voxel)}; "
                "nnU-Net crops the rest"
            )
        return tuple(index)

    def positions(self, axis: int) -> np.ndarray:
        """For every index of the image along a preprocessed axis: the preprocessed index there, -1 outside the crop."""
        (low, high), new = self.crop[axis], self.resampled[axis]
        positions = np.full(self.shape[self.transpose[axis]], -1)
        centres = (np.arange(high - low) + 0.5) * new / (high - low)
        positions[low:high] = np.minimum(centres.astype(int), new - 1)
        return positions


@dataclass(frozen=True)
class Patch:
    """Where the network's input lies on the preprocessed image.

    Attributes:
        start: of each of its axes, negative where the image is padded.
        shape: of the patch.
        plane: of a 2D network, the index along the first preprocessed axis; None in 3D.
    """

    start: Index
    shape: Index
    plane: int | None = None

    @classmethod
    def around(cls, voxel: Sequence[int], image: Sequence[int], shape: Sequence[int]) -> "Patch":
        """The patch with a preprocessed voxel as central as the image allows; small images are padded evenly."""
        plane = voxel[0] if len(shape) < len(image) else None
        first = len(image) - len(shape)
        start = [
            -((p - s) // 2) if s < p else min(max(v - p // 2, 0), s - p)
            for v, s, p in zip(voxel[first:], image[first:], shape, strict=True)
        ]
        return cls(tuple(start), tuple(shape), plane)

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The patch of a preprocessed image, (C, *image) -> (C, *patch), padded by zeros."""
        image = image if self.plane is None else image[:, self.plane]
        ends = [a + p for a, p in zip(self.start, self.shape, strict=True)]
        pads = [(max(0, -a), max(0, e - s)) for a, e, s in zip(self.start, ends, image.shape[1:], strict=True)]
        box = (slice(None), *(slice(max(0, a), e) for a, e in zip(self.start, ends, strict=True)))
        return np.pad(image[box], [(0, 0), *pads])

    def index(self, voxel: Sequence[int]) -> Index:
        """Index in the patch of a preprocessed voxel."""
        return tuple(v - a for v, a in zip(voxel[-len(self.shape) :], self.start, strict=True))


def to_image(token_map: np.ndarray, grid: Grid, patch: Patch) -> np.ndarray:
    """Put a token map back onto the image: every voxel gets the value of the token that holds it, 0 outside the patch.

    Args:
        token_map: one value per token of the patch, (*map); the map's sides divide the patch's.
        grid: of the image.
        patch: of the network's input.

    Returns:
        Float32 array of the image's shape.
    """
    inside, tokens = [], []
    if patch.plane is not None:
        token_map = token_map[None]
        inside.append(np.flatnonzero(grid.positions(0) == patch.plane))
        tokens.append(np.zeros_like(inside[0]))
    for axis, (start, size) in enumerate(zip(patch.start, patch.shape, strict=True), len(tokens)):
        positions = grid.positions(axis)
        kept = np.flatnonzero((positions >= max(0, start)) & (positions < start + size))
        inside.append(kept)
        tokens.append((positions[kept] - start) * token_map.shape[axis] // size)
    out = np.zeros([grid.shape[a] for a in grid.transpose], np.float32)
    out[np.ix_(*inside)] = token_map[np.ix_(*tokens)]
    return out.transpose(np.argsort(grid.transpose))

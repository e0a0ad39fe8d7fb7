"""From a voxel of a file to the network's input and back: nnU-Net turns, transposes, crops, resamples, cuts patches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel.orientations import io_orientation
from SimpleITK import DICOMOrientImageFilter

Index = tuple[int, ...]

#: letters of an orientation's axes, as SimpleITK names them -> number of the patient's axis
PATIENT = {letter: axis for axis, letters in enumerate(("LR", "AP", "IS")) for letter in letters}


@dataclass(frozen=True)
class Turn:
    """How the array of an image's file lies on the one that nnU-Net's reader makes of it: some readers turn it.

    Attributes:
        axes: axis a of the file's array, as SimpleITK.GetArrayFromImage gives it, is the reader's ``axes[a]``.
        against: whether it runs against that.
    """

    axes: Index = (0, 1, 2)
    against: tuple[bool, ...] = (False, False, False)

    @classmethod
    def of(cls, properties: Mapping[str, Any]) -> "Turn":
        """Turn from what the reader notes down: of NibabelIOWithReorient and SimpleITKIOWithReorient, else none."""
        nibabel, sitk = properties.get("nibabel_stuff", {}), properties.get("sitk_stuff", {})
        if "reoriented_affine" in nibabel:
            pairs = [(int(axis), bool(sign < 0)) for axis, sign in io_orientation(nibabel["original_affine"])]
        elif "original_orientation" in sitk:
            read = DICOMOrientImageFilter.GetOrientationFromDirectionCosines(sitk["direction"])
            order = [PATIENT[letter] for letter in read]
            axes = [order.index(PATIENT[letter]) for letter in sitk["original_orientation"]]
            pairs = [(a, letter != read[a]) for a, letter in zip(axes, sitk["original_orientation"], strict=True)]
        else:
            return cls()
        return cls(tuple(2 - axis for axis, _ in pairs[::-1]), tuple(against for _, against in pairs[::-1]))

    def file_array(self, array: np.ndarray) -> np.ndarray:
        """The file's array of the reader's."""
        return np.flip(array.transpose(self.axes), tuple(np.flatnonzero(self.against)))

    def file_voxel(self, voxel: Sequence[int], shape: Sequence[int]) -> Index:
        """Index in the file's array; ``voxel`` and ``shape`` are those of the reader's."""
        pairs = zip(self.axes, self.against, strict=True)
        return tuple(shape[a] - 1 - voxel[a] if against else voxel[a] for a, against in pairs)

    def reader_voxel(self, voxel: Sequence[int], shape: Sequence[int]) -> Index:
        """Index in the reader's array, of this shape; ``voxel`` is that of the file's."""
        places = zip(self.axes, self.against, voxel, strict=True)
        return tuple(shape[a] - 1 - v if against else v for a, against, v in sorted(places))


@dataclass(frozen=True)
class Grid:
    """How the array of an image lies on the preprocessed one; axes of both are numbered as nnU-Net's plan has them.

    Attributes:
        shape: of the image's array as read, three axes.
        transpose: preprocessed axis a is the image's axis ``transpose[a]``.
        crop: first and last + 1 index of the crop, per preprocessed axis.
        resampled: shape of the preprocessed image.
        turn: from the file's array to that of the reader.
    """

    shape: Index
    transpose: Index
    crop: tuple[tuple[int, int], ...]
    resampled: Index
    turn: Turn = Turn()

    @classmethod
    def of(
        cls, shape: Sequence[int], transpose: Sequence[int], properties: Mapping[str, Any], resampled: Index
    ) -> "Grid":
        """Grid from what nnU-Net's preprocessor notes down."""
        crop = tuple((int(low), int(high)) for low, high in properties["bbox_used_for_cropping"])
        return cls(tuple(shape), tuple(transpose), crop, tuple(resampled), Turn.of(properties))

    def to_array(self, voxel: Sequence[int]) -> Index:
        """Index in the image's array as read of a voxel of the file.

        Raises:
            ValueError: if the voxel lies outside the image.
        """
        shape = tuple(self.shape[a] for a in self.turn.axes)
        if len(voxel) != len(shape) or any(not 0 <= v < s for v, s in zip(voxel, shape, strict=True)):
            raise ValueError(
                f"expected a voxel inside the image's array of shape {shape}, got {tuple(voxel)}; "
                "indices are in the order of the file's array (SimpleITK's: Z Y X) and start at 0"
            )
        return self.turn.reader_voxel(voxel, self.shape)

    def to_preprocessed(self, voxel: Sequence[int]) -> Index:
        """Index in the preprocessed image of a voxel of the image's array as read.

        Raises:
            ValueError: if the voxel lies in the empty border that nnU-Net crops.
        """
        index = [int(self.positions(axis)[voxel[self.transpose[axis]]]) for axis in range(len(self.shape))]
        if min(index) < 0:
            crop = [self.crop[self.transpose.index(a)] for a in range(3)]
            ends = [self.turn.file_voxel([box[e] - e for box in crop], self.shape) for e in (0, 1)]
            low, high = (list(map(end, *ends)) for end in (min, max))
            raise ValueError(
                f"expected a voxel inside the image's non-zero region, from {low} to {high}, "
                f"got {self.turn.file_voxel(voxel, self.shape)}; nnU-Net crops the rest"
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

    def crop(self, image: np.ndarray) -> np.ndarray:
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

"""Slices of an image as they are shown: in radiological convention, with mm or px along both sides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnunet_reca.explain.nifti import directions

#: patient axis (left, posterior, superior) -> name of the plane across it, letters of its low and high ends
PATIENT_AXES = (("sagittal", "R", "L"), ("coronal", "A", "P"), ("axial", "I", "S"))


@dataclass(frozen=True)
class Plane:
    """A plane across one axis of an image's array, and how it is turned for display.

    Attributes:
        name: axial, coronal or sagittal; ``slice`` where the image has no patient orientation.
        axis: of the array, across the plane.
        rows: axis that runs down.
        columns: axis that runs to the right.
        flips: whether rows and columns run against the array.
        spacing: per row and column, in mm, of pictures in px.
        letters: at the left, right, upper and lower edge, or nothing.
    """

    name: str
    axis: int
    rows: int
    columns: int
    flips: tuple[bool, bool]
    spacing: tuple[float, float]
    letters: tuple[str, ...] = ()

    def take(self, volume: np.ndarray, index: int) -> np.ndarray:
        """Slice (rows, columns[, colours]) of an array (Z, Y, X[, colours])."""
        flat = volume.take(index, axis=self.axis)
        if self.rows > self.columns:
            flat = flat.swapaxes(0, 1)
        return flat[:: -1 if self.flips[0] else 1, :: -1 if self.flips[1] else 1]

    def point(self, voxel: Sequence[int], shape: Sequence[int]) -> tuple[float, float]:
        """Centre of a voxel, to the right and down, in mm or px."""
        row, column = (
            shape[a] - 1 - voxel[a] if flip else voxel[a]
            for a, flip in zip((self.rows, self.columns), self.flips, strict=True)
        )
        return (column + 0.5) * self.spacing[1], (row + 0.5) * self.spacing[0]

    def box(self, mask: np.ndarray) -> tuple[float, float, float, float] | None:
        """Bounding box of a mask (rows, columns), in mm or px: left, upper, width, height; None of an empty mask."""
        if not mask.any():
            return None
        (top, bottom), (left, right) = (np.flatnonzero(mask.any(axis))[[0, -1]] + [0, 1] for axis in (1, 0))
        dy, dx = self.spacing
        return left * dx, top * dy, (right - left) * dx, (bottom - top) * dy


def planes_of(properties: Mapping[str, Any], axes: Sequence[int]) -> list[Plane]:
    """Planes across the given axes of an image's array; patient orientation as in the image's geometry."""
    spacing = [float(s) for s in properties["spacing"]]
    columns = directions(properties)
    patient = np.arange(0) if columns is None else np.abs(columns).argmax(0)
    if columns is None or len(set(patient)) < 3:
        return [_plain_plane(axis, spacing) for axis in axes]
    forward = columns[patient, range(3)] > 0
    planes = []
    for axis in axes:
        rows, across = sorted((a for a in range(3) if a != axis), key=lambda a: -patient[a])
        up = patient[rows] == 2
        flips = (bool(forward[rows]) == up, not forward[across])
        name = PATIENT_AXES[patient[axis]][0]
        _, low, high = PATIENT_AXES[patient[rows]]
        letters = (*PATIENT_AXES[patient[across]][1:], *((high, low) if up else (low, high)))
        planes.append(Plane(name, axis, rows, across, flips, (spacing[rows], spacing[across]), letters))
    return planes


def _plain_plane(axis: int, spacing: Sequence[float]) -> Plane:
    rows, columns = (a for a in range(3) if a != axis)
    name = "slice" if axis == 0 else f"slice_axis{axis}"
    return Plane(name, axis, rows, columns, (False, False), (spacing[rows], spacing[columns]))

"""Arrays of an image as NIfTI files on the grid of the image's own file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from nnunet_reca.explain.grid import Turn

#: spacing, origin and direction in SimpleITK's order and orientation
Geometry = tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]


def geometry(properties: Mapping[str, Any]) -> Geometry:
    """Geometry of the reader's array, from what nnU-Net's readers note down."""
    if "sitk_stuff" in properties:
        stuff = properties["sitk_stuff"]
        return tuple(stuff["spacing"]), tuple(stuff["origin"]), tuple(stuff["direction"])
    if "nibabel_stuff" in properties:
        stuff = properties["nibabel_stuff"]
        affine = np.diag([-1.0, -1, 1, 1]) @ stuff.get("reoriented_affine", stuff["original_affine"])  # RAS to LPS
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        return tuple(spacing), tuple(affine[:3, 3]), tuple((affine[:3, :3] / spacing).ravel())
    spacing = tuple(float(s) for s in properties["spacing"])[::-1]
    axes = 2 if spacing[2] > 100 * spacing[0] else 3  # nnU-Net gives a 2D image one slice, of a spacing of 999
    return spacing[:axes], (0.0,) * axes, tuple(np.eye(axes).ravel())


def has_patient(properties: Mapping[str, Any]) -> bool:
    """Whether the image's file has a place and an orientation in space."""
    return "sitk_stuff" in properties or "nibabel_stuff" in properties


def unit(properties: Mapping[str, Any]) -> str:
    """Unit of the spacing: mm, and of pictures, which have none, px."""
    return "mm" if has_patient(properties) or len(geometry(properties)[0]) == 3 else "px"


def write_nifti(array: np.ndarray, file: Path, properties: Mapping[str, Any]) -> None:
    """Write an array (Z, Y, X) of the reader as the image's file has it; a slice of a 2D image is written in 2D."""
    turn = Turn.of(properties)
    spacing, origin, direction = _turned(geometry(properties), turn, array.shape)
    image = sitk.GetImageFromArray(array[0] if len(spacing) == 2 else turn.file_array(array))
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    sitk.WriteImage(image, str(file), True)


def _turned(read: Geometry, turn: Turn, shape: Sequence[int]) -> Geometry:
    """Geometry of the file's array; ``shape`` is that of the reader's."""
    if turn == Turn():
        return read
    spacing, origin, direction = map(np.array, read)
    columns = direction.reshape(3, 3)
    axes = [2 - axis for axis in turn.axes[::-1]]  # X Y Z
    first = turn.reader_voxel((0, 0, 0), shape)[::-1]
    place = origin + columns @ (spacing * first)
    columns = columns[:, axes] * np.where(turn.against[::-1], -1, 1)
    return tuple(spacing[axes].tolist()), tuple(place.tolist()), tuple(columns.ravel().tolist())

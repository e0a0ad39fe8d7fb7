"""Arrays of an image as NIfTI files on the image's geometry."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def geometry(properties: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """Spacing, origin and direction in SimpleITK's order and orientation, from what nnU-Net's readers note down.

    Images that the reader turned to another orientation have the geometry of the turned image.
    """
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


def write_nifti(array: np.ndarray, file: Path, properties: Mapping[str, Any]) -> None:
    """Write an array (Z, Y, X) in the image's geometry; a single slice of a 2D image is written in 2D."""
    import SimpleITK as sitk

    spacing, origin, direction = geometry(properties)
    image = sitk.GetImageFromArray(array[0] if len(spacing) == 2 else array)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    sitk.WriteImage(image, str(file), True)

"""Arrays of an image as NIfTI files, placed as nnU-Net's writers place a segmentation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK as sitk
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

#: spacing of a slice over that of its pixels from which nnU-Net's readers mean a 2D image
FLAT = 999


def directions(properties: Mapping[str, Any]) -> np.ndarray | None:
    """Directions of the axes of the reader's array, in columns: left, posterior, superior; None where unknown.

    Of a sheared image the axes are not at right angles.
    """
    if "nibabel_stuff" in properties:
        stuff = properties["nibabel_stuff"]
        columns = (
            np.diag([-1.0, -1, 1]) @ stuff.get("reoriented_affine", stuff["original_affine"])[:3, :3]
        )  # RAS to LPS
        return (columns / np.linalg.norm(columns, axis=0))[:, ::-1]
    if len(properties.get("sitk_stuff", {}).get("direction", ())) == 9:
        return np.reshape(properties["sitk_stuff"]["direction"], (3, 3))[:, ::-1]
    return None


def write_nifti(array: np.ndarray, file: Path, properties: Mapping[str, Any]) -> None:
    """Write an array (Z, Y, X) of the reader where nnU-Net's writer of the same data set puts its segmentation.

    A slice of a 2D image is written in 2D. Formats without a place in space lie at the origin, in the reader's spacing.
    """
    if "nibabel_stuff" in properties:
        nibabel.save(_as_nibabel(array, properties["nibabel_stuff"]), file)
        return
    stuff = properties.get("sitk_stuff") or _plain(properties)
    image = sitk.GetImageFromArray(array[0] if len(stuff["spacing"]) == 2 else array)
    image.SetSpacing(stuff["spacing"])
    if "direction" in stuff:
        image.SetOrigin(stuff["origin"])
        image.SetDirection(stuff["direction"])
    if "original_orientation" in stuff:
        image = sitk.DICOMOrient(image, stuff["original_orientation"])
    sitk.WriteImage(image, str(file), True)


def _as_nibabel(array: np.ndarray, stuff: Mapping[str, Any]) -> nibabel.Nifti1Image:
    """Array on its affine, which may be sheared, turned back where the reader has turned it."""
    original = stuff["original_affine"]
    image = nibabel.Nifti1Image(array.T, stuff.get("reoriented_affine", original))
    if "reoriented_affine" in stuff:
        image = image.as_reoriented(ornt_transform(axcodes2ornt("RAS"), io_orientation(original)))
    return image


def _plain(properties: Mapping[str, Any]) -> dict[str, Any]:
    spacing = [float(s) for s in properties["spacing"]][::-1]
    return {"spacing": spacing[:2] if spacing[2] >= FLAT * max(spacing[:2]) else spacing}

"""Small data sets of every kind that nnU-Net takes, made from the example's MRI crops."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage
from skimage import io

from support.copy_cases import copy_cases
from support.workspace import EXAMPLE

PLAIN, REGIONS, CHANNELS, COLOUR = 4, 101, 102, 103
CASES = 6
IGNORE = 3


def make_plain(raw: Path) -> None:
    """The example itself: one channel, two labels, 1 mm isotropic."""
    copy_cases(EXAMPLE, raw / EXAMPLE.name, CASES, 2)


def make_regions(raw: Path) -> None:
    """Regions within each other; only every third slice is annotated, the others have the ignore label."""
    target = raw / f"Dataset{REGIONS}_Regions"
    copy_cases(EXAMPLE, target, CASES, 2)
    for file in (target / "labelsTr").iterdir():
        labels = sitk.ReadImage(str(file))
        array = sitk.GetArrayFromImage(labels)
        sparse = np.full_like(array, IGNORE)
        sparse[::3] = array[::3]
        _write(sparse, file, labels)
    labels = {"background": 0, "hippocampus": [1, 2], "anterior": 1, "ignore": IGNORE}
    _describe(target, labels=labels, regions_class_order=[2, 1])


def make_channels(raw: Path) -> None:
    """Two channels, image and edges, with slices of 4 mm; one label."""
    target = raw / f"Dataset{CHANNELS}_Channels"
    for part, name, image, array in _cases():
        thick = array[::4]
        if part == "labelsTr":
            _write((thick > 0).astype(np.uint8), target / part / f"{name}.nii.gz", image, thickness=4)
        else:
            edges = ndimage.gaussian_gradient_magnitude(thick, 1).astype(np.float32)
            _write(thick, target / part / f"{name}_0000.nii.gz", image, thickness=4)
            _write(edges, target / part / f"{name}_0001.nii.gz", image, thickness=4)
    _describe(target, labels={"background": 0, "hippocampus": 1}, channel_names={"0": "MRI", "1": "edges"})


def make_colour(raw: Path) -> None:
    """2D colour images: three neighbouring slices as red, green and blue, doubled in size."""
    target = raw / f"Dataset{COLOUR}_Colour"
    for part, name, _, array in _cases():
        middle = array.shape[0] // 2
        if part == "labelsTr":
            picture = array[middle].repeat(2, 0).repeat(2, 1).astype(np.uint8)
        else:
            slices = array[middle - 1 : middle + 2].transpose(1, 2, 0).repeat(2, 0).repeat(2, 1)
            picture = (slices * (255 / array.max())).clip(0, 255).astype(np.uint8)
        (target / part).mkdir(parents=True, exist_ok=True)
        suffix = "" if part == "labelsTr" else "_0000"
        io.imsave(target / part / f"{name}{suffix}.png", picture, check_contrast=False)
    _describe(target, channel_names={"0": "R", "1": "G", "2": "B"}, file_ending=".png")


def _cases() -> Iterator[tuple[str, str, sitk.Image, np.ndarray]]:
    """Folder, name, image and voxels of all images and labels that are used."""
    for part, number in (("imagesTr", CASES), ("labelsTr", CASES), ("imagesTs", 2)):
        for file in sorted((EXAMPLE / part).iterdir())[:number]:
            image = sitk.ReadImage(str(file))
            name = file.name.removesuffix(".nii.gz").removesuffix("_0000")
            yield part, name, image, sitk.GetArrayFromImage(image)


def _write(array: np.ndarray, file: Path, like: sitk.Image, thickness: int = 1) -> None:
    """Write voxels with the geometry of ``like``, whose slices are ``thickness`` times as far apart."""
    image = sitk.GetImageFromArray(array)
    x, y, z = like.GetSpacing()
    image.SetSpacing((x, y, z * thickness))
    image.SetOrigin(like.GetOrigin())
    image.SetDirection(like.GetDirection())
    file.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(file))


def _describe(target: Path, **changes: object) -> None:
    dataset = json.loads((EXAMPLE / "dataset.json").read_text()) | {"numTraining": CASES} | changes
    (target / "dataset.json").write_text(json.dumps(dataset))

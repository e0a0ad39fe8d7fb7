"""Voxels, tokens and planes find each other, by hand-computed places."""

from dataclasses import replace

import numpy as np
import pytest
from acvl_utils.cropping_and_padding.padding import pad_nd_image

from nnunet_reca.explain.grid import Grid, Patch, Turn, to_image
from nnunet_reca.explain.planes import planes_of

PLAIN = Grid((5, 7, 11), (0, 1, 2), ((0, 5), (0, 7), (0, 11)), (5, 7, 11))
#: axes turned, two voxels cropped at each end of one of them, which is then sampled at half the density
TURNED = Grid((5, 7, 12), (2, 0, 1), ((2, 10), (0, 5), (0, 7)), (4, 5, 14))


def test_without_preprocessing_voxels_stay():
    assert PLAIN.to_preprocessed((4, 0, 10)) == (4, 0, 10)


@pytest.mark.parametrize(
    ("voxel", "expected"), [((1, 6, 2), (0, 1, 13)), ((4, 0, 9), (3, 4, 1)), ((0, 3, 5), (1, 0, 7))]
)
def test_voxels_follow_transpose_crop_and_resampling(voxel, expected):
    assert TURNED.to_preprocessed(voxel) == expected


@pytest.mark.parametrize(
    ("voxel", "message"),
    [
        ((5, 0, 3), "expected a voxel inside the image's array of shape"),
        ((-1, 0, 3), "expected a voxel inside the image's array of shape"),
        ((0, 0), "expected a voxel inside the image's array of shape"),
        ((0, 0, 1), r"non-zero region, from \[0, 0, 2\] to \[4, 6, 9\], got \(0, 0, 1\)"),
    ],
)
def test_voxels_outside_are_refused(voxel, message):
    with pytest.raises(ValueError, match=message):
        TURNED.to_preprocessed(TURNED.to_array(voxel))


def test_voxels_of_a_file_that_the_reader_turns_are_those_of_the_file():
    # the file's array is (12, 5, 7); its first axis runs against the last of the reader, cropped from 3 to 9
    grid = replace(TURNED, crop=((3, 10), (0, 5), (0, 7)), turn=Turn((2, 0, 1), (True, False, False)))
    assert grid.to_array((0, 4, 6)) == (4, 6, 11) and grid.to_array((11, 0, 3)) == (0, 3, 0)
    with pytest.raises(ValueError, match=r"array of shape \(12, 5, 7\), got \(0, 5, 0\)"):
        grid.to_array((0, 5, 0))
    with pytest.raises(ValueError, match=r"from \[2, 0, 0\] to \[8, 4, 6\], got \(10, 4, 6\)"):
        grid.to_preprocessed(grid.to_array((10, 4, 6)))


@pytest.mark.parametrize(
    ("voxel", "start"),
    [((0, 0, 0), (0, 0, 0)), ((9, 10, 12), (7, 8, 9)), ((19, 10, 12), (15, 8, 9)), ((9, 1, 29), (7, 0, 23))],
)
def test_the_patch_is_as_central_as_the_image_allows(voxel, start):
    patch = Patch.around(voxel, (20, 21, 30), (5, 4, 7))
    assert patch.start == start and patch.plane is None
    image = np.random.default_rng(0).normal(size=(2, 20, 21, 30))
    assert patch.crop(image)[(1, *patch.index(voxel))] == image[(1, *voxel)]


@pytest.mark.parametrize("patch", [(8, 9, 13), (4, 10, 11), (5, 7, 12)])
def test_small_images_are_padded_as_nnunet_does(patch):
    image = np.random.default_rng(0).normal(size=(2, 5, 7, 11))
    padded = pad_nd_image(image, patch, "constant", {"constant_values": 0}, False)
    around = Patch.around((0, 0, 0), (5, 7, 11), patch)
    assert np.array_equal(around.crop(image), padded[:, : patch[0], : patch[1], : patch[2]])


def test_a_2d_network_sees_the_plane_of_the_voxel():
    patch = Patch.around((3, 2, 6), (5, 7, 11), (4, 6))
    image = np.random.default_rng(0).normal(size=(1, 5, 7, 11))
    assert patch.plane == 3 and patch.start == (0, 3)
    assert np.array_equal(patch.crop(image)[0], image[0, 3, :4, 3:9])


def test_every_voxel_gets_the_value_of_its_token():
    patch = Patch.around((2, 3, 5), (5, 7, 11), (4, 6, 8))
    tokens = np.arange(1.0, 13).reshape(2, 3, 2)
    image = to_image(tokens, PLAIN, patch)
    expected = np.zeros((5, 7, 11))
    block = tokens.repeat(2, 0).repeat(2, 1).repeat(4, 2)
    z, y, x = patch.start
    expected[z : z + 4, y : y + 6, x : x + 8] = block
    assert np.array_equal(image, expected) and image.dtype == np.float32


@pytest.mark.parametrize("voxel", [(1, 6, 2), (4, 0, 9), (0, 3, 5)])
@pytest.mark.parametrize("sides", [(4, 4, 8), (4, 8)])
def test_the_token_of_a_voxel_covers_the_voxel_on_the_image(voxel, sides):
    place = TURNED.to_preprocessed(voxel)
    patch = Patch.around(place, TURNED.resampled, sides)
    tokens = np.zeros([s // 2 for s in sides])
    tokens[tuple(i // 2 for i in patch.index(place))] = 1
    image = to_image(tokens, TURNED, patch)
    assert image.shape == (5, 7, 12) and image[voxel] == 1
    assert len(sides) == 3 or set(np.flatnonzero(image.any((0, 1)))) == {2 * place[0] + 2, 2 * place[0] + 3}


def properties(direction):
    return {
        "spacing": [2.0, 0.5, 1.5],
        "sitk_stuff": {"spacing": (1.5, 0.5, 2.0), "origin": (0, 0, 0), "direction": direction},
    }


def test_planes_follow_the_patient_not_the_array():
    # array axes: z against superior, y to the left, x to the posterior
    direction = (0, 1, 0, 1, 0, 0, 0, 0, -1)
    axial, sagittal, coronal = planes_of(properties(direction), [0, 1, 2])
    assert [p.name for p in (axial, sagittal, coronal)] == ["axial", "sagittal", "coronal"]
    assert (axial.rows, axial.columns, axial.flips) == (2, 1, (False, False))
    assert axial.letters == ("R", "L", "A", "P") and axial.spacing == (1.5, 0.5)
    assert (coronal.rows, coronal.columns, coronal.flips) == (0, 1, (False, False)), "superior is up already"
    assert (sagittal.rows, sagittal.columns) == (0, 2) and sagittal.letters == ("A", "P", "S", "I")


@pytest.mark.parametrize(
    "direction", [(1, 0, 0, 0, 1, 0, 0, 0, 1), (-1, 0, 0, 0, -1, 0, 0, 0, 1), (0, 1, 0, 1, 0, 0, 0, 0, -1)]
)
def test_a_point_lies_on_its_voxel_in_every_plane(direction):
    volume = np.zeros((5, 7, 11))
    volume[1, 2, 8] = 1
    for plane in planes_of(properties(direction), [0, 1, 2]):
        x, y = plane.point((1, 2, 8), volume.shape)
        flat = plane.take(volume, (1, 2, 8)[plane.axis])
        assert flat[int(y / plane.spacing[0]), int(x / plane.spacing[1])] == 1
        left, top, width, height = plane.box(flat > 0)
        assert (left + width / 2, top + height / 2) == pytest.approx((x, y))


def test_superior_is_up_and_the_patients_right_is_left():
    axial, coronal, sagittal = planes_of(properties((1, 0, 0, 0, 1, 0, 0, 0, 1)), [0, 1, 2])
    assert axial.flips == (False, False), "x grows to the left, y to the posterior"
    assert coronal.flips == (True, False) and sagittal.flips == (True, False), "z grows upwards"


def test_pictures_without_a_patient_are_shown_as_they_are():
    (plane,) = planes_of({"spacing": (999, 1, 1)}, [0])
    assert plane.name == "slice" and plane.flips == (False, False) and plane.letters == ()

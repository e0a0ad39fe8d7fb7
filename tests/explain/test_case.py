"""Files, objects, overlap and geometry of a case."""

import re

import numpy as np
import pytest
import SimpleITK as sitk
from support.model_folder import write_image

from nnunet_reca.explain.case import centre_of_largest_object, image_files
from nnunet_reca.explain.grid import Turn
from nnunet_reca.explain.nifti import write_nifti
from nnunet_reca.explain.overlap import compare_cut, dice


@pytest.fixture
def images(tmp_path):
    for name in ("a_0000", "a_0001", "b_0000", "b_0001", "a_b_0000", "plain"):
        (tmp_path / f"{name}.nii.gz").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["a"], ["a_0000", "a_0001"]),
        (["a_0000.nii.gz"], ["a_0000", "a_0001"]),
        (["b_0001.nii.gz", "a_0000.nii.gz"], ["b_0001", "a_0000"]),
        (["plain.nii.gz"], ["plain"]),
        (["a_b"], ["a_b_0000"]),
    ],
)
def test_a_file_a_prefix_or_all_files_name_a_case(images, given, expected):
    found = image_files([images / g for g in given], ".nii.gz")
    assert [f.name for f in found] == [f"{e}.nii.gz" for e in expected]


def test_a_folder_names_its_only_case(images):
    with pytest.raises(ValueError, match=r"expected one case .* got 3 \['a', 'a_b', 'b'\]"):
        image_files([images], ".nii.gz")
    for other in [*images.glob("a_*"), images / "plain.nii.gz"]:
        other.unlink()
    assert [f.name for f in image_files([images], ".nii.gz")] == ["b_0000.nii.gz", "b_0001.nii.gz"]


def test_an_output_folder_named_like_the_case_does_not_hide_it(images):
    (images / "a").mkdir()
    assert [f.name for f in image_files([images / "a"], ".nii.gz")] == ["a_0000.nii.gz", "a_0001.nii.gz"]


@pytest.mark.parametrize(
    ("given", "missing"),
    [(["c"], "c"), (["c_0000.nii.gz"], "c_0000.nii.gz"), (["a_0000.nii.gz", "c_0001.nii.gz"], "c_0001.nii.gz")],
)
def test_files_that_do_not_exist_are_named(images, given, missing):
    with pytest.raises(ValueError, match=re.escape(str(images / missing)) + r"[ ']"):
        image_files([images / g for g in given], ".nii.gz")


def test_the_centre_is_a_voxel_of_the_largest_object():
    labels = np.zeros((3, 9, 9), int)
    labels[1, 1:8, 1] = labels[1, 1, 1:8] = labels[1, 7, 1:8] = 2  # an open ring, whose centre of mass is empty
    labels[0, :4, 8] = labels[2, 3:6, 5] = 1  # two objects of label 1, together smaller
    assert centre_of_largest_object(labels, [(1,), (2,)]) == (1, 4, 1)
    assert centre_of_largest_object(labels, [(1,)]) in {(0, 1, 8), (0, 2, 8)}


def test_an_object_of_a_region_is_made_of_all_its_labels():
    labels = np.zeros((1, 3, 20), int)
    labels[0, 1, 1:4] = labels[0, 1, 5:8] = 1
    labels[0, 1, 4] = 2  # the bridge: a region of 7 voxels around it
    labels[0, 1, 11:16] = 1  # 5 voxels, the largest object of one label
    assert centre_of_largest_object(labels, [(1, 2), (2,)]) == (0, 1, 4)
    assert centre_of_largest_object(labels, [(1,), (2,)]) == (0, 1, 13)


def test_objects_that_touch_by_a_corner_are_two():
    labels = np.zeros((1, 6, 6), int)
    labels[0, :2, :2] = labels[0, 2:, 2:5] = 1
    voxel = centre_of_largest_object(labels, [(1,)])
    assert voxel[1] >= 2 and voxel[2] >= 2


def test_without_an_object_a_voxel_is_asked_for():
    with pytest.raises(ValueError, match="none is predicted; choose a voxel with --voxel"):
        centre_of_largest_object(np.zeros((1, 2, 3), int), [(1,)])


def test_dice_by_hand():
    first, second = np.array([1, 1, 1, 0], bool), np.array([0, 0, 1, 1], bool)
    assert dice(first, second) == 2 / 5 and dice(first, ~first) == 0 and dice(first & False, second & False) is None


def test_a_cut_is_compared_to_the_whole_prediction_and_both_to_the_reference():
    full, cut = np.array([[1, 1, 2, 2, 0, 0]]), np.array([[1, 0, 2, 2, 2, 0]])
    reference = np.array([[1, 1, 2, 0, 0, 9]])
    regions = {"whole": (1, 2), "core": (2,), "none": (7,)}
    found = compare_cut("carry", "stage 1", cut, full, reference, regions, None)
    assert found.to_full == {"whole": 6 / 8, "core": 4 / 5, "none": None}
    assert found.to_reference == {"whole": 4 / 7, "core": 2 / 4, "none": None}
    assert found.gain == {"whole": 4 / 7 - 6 / 7, "core": 2 / 4 - 2 / 3, "none": None}
    ignoring = compare_cut("carry", "stage 1", cut, full, np.array([[1, 1, 2, 9, 9, 9]]), regions, 9)
    assert ignoring.to_reference == {"whole": 4 / 5, "core": 1, "none": None}
    assert compare_cut("carry", "stage 1", cut, full, None, regions, None).gain is None


#: rows of a direction: the file's axes X Y Z run to the superior, the left and the posterior, or to RAS, or obliquely
DIRECTIONS = {
    "turned": (0, 1, 0, 0, 0, 1, 1, 0, 0),
    "RAS": (-1, 0, 0, 0, -1, 0, 0, 0, 1),
    "oblique": (0, 0.8, 0.6, 0, -0.6, 0.8, 1, 0, 0),
}


def readers():
    from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO, SimpleITKIOWithReorient

    return [SimpleITKIO, SimpleITKIOWithReorient, NibabelIO, NibabelIOWithReorient]


@pytest.fixture(params=DIRECTIONS)
def scan(request, tmp_path):
    array = np.random.default_rng(0).normal(size=(3, 5, 7)).astype(np.float32)
    return write_image(tmp_path / "image.nii.gz", array, DIRECTIONS[request.param])


@pytest.mark.parametrize("reader", readers(), ids=lambda r: r.__name__)
def test_maps_have_the_voxels_and_the_place_of_the_file_whatever_reader_the_plan_names(tmp_path, scan, reader):
    read, properties = reader().read_images([str(scan)])
    write_nifti(read[0], tmp_path / "map.nii.gz", properties)
    before, after = (sitk.ReadImage(str(file)) for file in (scan, tmp_path / "map.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(before), sitk.GetArrayFromImage(after))
    for get in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(after, get)() == pytest.approx(getattr(before, get)(), abs=1e-5)


@pytest.mark.parametrize("reader", readers(), ids=lambda r: r.__name__)
def test_a_voxel_is_found_in_what_the_reader_gives(scan, reader):
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(scan)))
    read, properties = reader().read_images([str(scan)])
    turn, shape = Turn.of(properties), read.shape[1:]
    for voxel in ((0, 0, 0), (2, 1, 5), (1, 4, 3)):
        there = turn.reader_voxel(voxel, shape)
        assert read[0][there] == array[voxel] and turn.file_voxel(there, shape) == voxel


def test_maps_of_pictures_are_pictures(tmp_path):
    write_nifti(np.ones((1, 5, 7), np.float32), tmp_path / "map.nii.gz", {"spacing": (999, 1, 1)})
    image = sitk.ReadImage(str(tmp_path / "map.nii.gz"))
    assert image.GetSize() == (7, 5) and image.GetSpacing() == (1, 1)

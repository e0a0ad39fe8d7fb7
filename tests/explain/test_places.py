"""Whatever reader a data set names: maps and prediction lie where nnU-Net's own prediction lies."""

import json

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from skimage import io
from support.model_folder import make_model_folder
from support.plan_factory import DATASET_JSON, make_configuration

from nnunet_reca.cli.explain import main
from nnunet_reca.explain import run

SHAPE = (6, 30, 21)
#: voxels of 1.25 x 0.75 x 2 mm; the third axis leans, as of a CT whose gantry is tilted
SHEARED = np.array([[-1.25, 0, 0, -7], [0, 0.75, 0.6, 3], [0, 0, 2, 11], [0, 0, 0, 1]])
#: the same with axes that run otherwise than the patient's
TURNED = SHEARED[:, [2, 0, 1, 3]] * [-1, 1, -1, 1]


def write_nibabel(affine):
    return lambda file, array: nibabel.save(nibabel.Nifti1Image(array.T, affine), file)


def write_sitk(direction):
    def write(file, array):
        image = sitk.GetImageFromArray(array)
        axes = image.GetDimension()
        image.SetSpacing((1.25, 0.75, 2.0)[:axes])
        image.SetOrigin((-7.0, 3.0, 11.0)[:axes])
        image.SetDirection(direction)
        sitk.WriteImage(image, str(file))

    return write


def write_tiff(spacing):
    def write(file, array):
        tifffile.imwrite(file, array)
        if spacing is not None:
            name = file.name.replace("_0000.tif", ".json")
            (file.parent / name).write_text(json.dumps({"spacing": spacing}))

    return write


def write_png(file, array):
    io.imsave(file, (array * 20).astype(np.uint8), check_contrast=False)


OBLIQUE = (0, 0.8, 0.6, 0, -0.6, 0.8, 1, 0, 0)
#: reader, ending, shape, what writes the image
PLACES = {
    "nibabel_sheared": ("NibabelIO", ".nii.gz", SHAPE, write_nibabel(SHEARED)),
    "nibabel_turned": ("NibabelIO", ".nii.gz", SHAPE, write_nibabel(TURNED)),
    "reoriented_sheared": ("NibabelIOWithReorient", ".nii.gz", SHAPE, write_nibabel(SHEARED)),
    "reoriented_turned": ("NibabelIOWithReorient", ".nii.gz", SHAPE, write_nibabel(TURNED)),
    "sitk_oblique": ("SimpleITKIO", ".nii.gz", SHAPE, write_sitk(OBLIQUE)),
    "sitk_reoriented": ("SimpleITKIOWithReorient", ".nii.gz", SHAPE, write_sitk(OBLIQUE)),
    "sitk_nrrd": ("SimpleITKIO", ".nrrd", SHAPE, write_sitk(OBLIQUE)),
    "sitk_2d": ("SimpleITKIO", ".nii.gz", SHAPE[1:], write_sitk((-1.0, 0, 0, -1))),
    "tiff": ("Tiff3DIO", ".tif", SHAPE, write_tiff([2.0, 0.75, 1.25])),
    "tiff_of_thick_slices": ("Tiff3DIO", ".tif", SHAPE, write_tiff([150.0, 0.75, 1.25])),
    "tiff_without_spacing": ("Tiff3DIO", ".tif", SHAPE, write_tiff(None)),
    "png": ("NaturalImage2DIO", ".png", SHAPE[1:], write_png),
}


@pytest.fixture(params=PLACES)
def written(request, tmp_path, monkeypatch):
    """nnU-Net's prediction, the folder of a report without figures, and the voxel."""
    monkeypatch.setattr(run, "draw", lambda *_: None)
    reader, ending, shape, write = PLACES[request.param]
    (tmp_path / "images").mkdir()
    write(tmp_path / "images" / f"case_0000{ending}", np.random.default_rng(0).normal(5, 1, shape).astype(np.float32))
    configuration = make_configuration([32, 32], [[1, 1], [2, 2], [2, 2], [2, 2]])
    dataset = DATASET_JSON | {"file_ending": ending}
    model = make_model_folder(tmp_path, "nnUNetTrainerSwinUNETR_tiny", configuration, dataset, reader=reader)
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False, use_mirroring=False)
    predictor.initialize_from_trained_model_folder(str(model), (0,))
    (tmp_path / "predicted").mkdir()
    predictor.predict_from_files_sequential(str(tmp_path / "images"), str(tmp_path / "predicted"))
    voxel = [str(v) for v in (3, 9, 7)[-len(shape) :]]
    place = ("-i", tmp_path / "images", "-m", model, "-o", tmp_path / "out")
    assert main([*map(str, place), "-device", "cpu", "--disable_tta", "--voxel", *voxel]) == 0
    return tmp_path / "predicted" / f"case{ending}", tmp_path / "out", tuple(map(int, voxel))


def placed(file):
    """Voxels (X, Y, Z) and affine of what nnU-Net predicts."""
    if file.suffix == ".png":
        return io.imread(file).T, np.eye(4)
    if file.suffix == ".tif":
        spacing = json.loads(file.with_suffix(".json").read_text())["spacing"]
        return tifffile.imread(file).T, np.diag([-spacing[2], -spacing[1], spacing[0], 1])
    if file.suffix == ".nrrd":
        sitk.WriteImage(sitk.ReadImage(str(file)), str(file.with_suffix(".nii")))
        file = file.with_suffix(".nii")
    image = nibabel.load(file)
    return np.asarray(image.dataobj), image.affine


def test_everything_lies_where_nnunets_prediction_lies(written):
    file, output, voxel = written
    labels, affine = placed(file)
    ours = nibabel.load(output / "prediction.nii.gz")
    assert labels.any() and np.array_equal(np.asarray(ours.dataobj), labels)
    maps = sorted(output.glob("attention_*.nii.gz"))
    assert len(maps) == 2
    for image in [ours, *map(nibabel.load, maps)]:
        if file.suffix == ".png":  # has no place
            assert image.shape == labels.shape and image.header.get_zooms() == (1, 1)
        else:
            np.testing.assert_allclose(image.affine, affine, atol=1e-5)
            assert image.shape == labels.shape
    for image in map(nibabel.load, maps):
        assert image.get_fdata()[voxel[::-1]] > 0, "a token sees itself"

import json

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO
from support.results_factory import HungryReader

from nnunet_reca.report import measure
from nnunet_reca.report.measure import Task
from nnunet_reca.results.images import read_segmentation, reader_of


def plane(at):
    array = np.zeros((7, 5, 4), dtype=np.uint8)
    array[at] = 1
    return array


def write(file, array, spacing=None):
    if file.suffix == ".tif":
        tifffile.imwrite(file, array)
        if spacing:
            file.with_suffix(".json").write_text(json.dumps({"spacing": spacing}))
        return file
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing[::-1])
    sitk.WriteImage(image, str(file))
    return file


def task(reader, reference, *predictions):
    return Task(("0", "a"), reference, predictions, reader, {"x": 1}, None, 1.0)


def test_a_tiff_without_a_spacing_file_is_measured_by_that_of_the_prediction(tmp_path):
    reference = write(tmp_path / "a.tif", plane(2))
    prediction = write(tmp_path / "b.tif", plane(3), [3.0, 0.5, 0.5])
    assert read_segmentation(Tiff3DIO(), reference)[1] is None
    (found,) = measure._measure_task(task(Tiff3DIO(), reference, prediction))
    assert found["x"].hd95 == pytest.approx(3.0)


@pytest.mark.parametrize(("reader", "ending"), [(Tiff3DIO, ".tif"), (SimpleITKIO, ".nii.gz")])
def test_spacings_that_differ_are_refused_and_rounding_is_not(tmp_path, reader, ending):
    reference = write(tmp_path / f"a{ending}", plane(2), [3.0, 0.5, 0.5])
    same = write(tmp_path / f"b{ending}", plane(3), [3.0001, 0.5, 0.5])
    other = write(tmp_path / f"c{ending}", plane(3), [1.0, 0.5, 0.5])
    found = measure._measure_task(task(reader(), reference, same, other))
    assert found[0]["x"].hd95 == pytest.approx(3.0)
    assert found[1].startswith(f"{other}: expected the reference's spacing (3, 0.5, 0.5), got (1, 0.5, 0.5)")


def test_any_exception_while_measuring_names_the_file_and_itself(tmp_path, monkeypatch):
    reference, prediction = (write(tmp_path / f"{n}.tif", plane(2)) for n in "ab")

    def broken(*arguments, **options):
        raise RuntimeError("no kernel\nand more")

    monkeypatch.setattr("nnunet_reca.report.measure.score_case", broken)
    assert measure._measure_task(task(Tiff3DIO(), reference, prediction)) == [f"{prediction}: RuntimeError: no kernel"]


@pytest.mark.parametrize("processes", [1, 2])
def test_short_memory_is_said_and_not_that_a_file_is_broken(tmp_path, processes):
    waiting = [task(HungryReader(), tmp_path / "a", tmp_path / "b")] * 3
    with pytest.raises(ValueError, match=f"does not fit into memory with {processes} at a time") as caught:
        list(measure._run(waiting, processes, progress=False))
    assert ("say -np 1" in str(caught.value)) == (processes > 1)


def test_a_reader_that_is_not_installed_is_named(tmp_path):
    (tmp_path / "plans.json").write_text(json.dumps({"image_reader_writer": "OursIO"}))
    with pytest.raises(ValueError, match="expected the reader 'OursIO' of .* to be installed"):
        reader_of(tmp_path / "plans.json")

"""A case: its image files, the image as nnU-Net's reader gives it, what the network sees of it, and its prediction."""

import contextlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.utilities.label_handling.label_handling import convert_labelmap_to_one_hot
from scipy import ndimage

from nnunet_reca.explain.grid import Grid, Index
from nnunet_reca.explain.model import TrainedModel
from nnunet_reca.results import images


@dataclass(frozen=True)
class Case:
    """An image and its preprocessed self.

    Attributes:
        name: of the case.
        image: as nnU-Net's reader gives it, (C, Z, Y, X); 2D images have one slice.
        properties: what reader and preprocessor noted down.
        data: preprocessed image, (C, *resampled), with the previous stage's segmentation in a cascade.
        grid: how the image's file and both arrays lie on each other.
        unit: of its spacing, mm or px.
        colour: whether the channels are the colours of a picture.
    """

    name: str
    image: np.ndarray
    properties: dict[str, Any]
    data: np.ndarray
    grid: Grid
    unit: str
    colour: bool

    @property
    def spacing(self) -> tuple[float, ...]:
        """Size of a voxel along the image's axes, in mm; in px of pictures, which have no spacing."""
        return tuple(float(s) for s in self.properties["spacing"])


def image_files(given: Sequence[str | Path], ending: str) -> list[Path]:
    """Channel files of one case.

    Args:
        given: the files, channel by channel; or one of ``CASE_0000.nii.gz``, which stands for all channels; or the
            prefix ``CASE``; or a folder with one case.
        ending: of the data set's files.

    Raises:
        ValueError: if there is no such file, or several cases.
    """
    paths = [Path(g) for g in given]
    missing = [str(p) for p in paths if not p.exists()]
    if len(paths) > 1:
        if missing:
            raise ValueError(f"expected image files, got {missing}, which do not exist")
        return paths
    (path,) = paths
    own = _channels(path.parent, ending)
    case = next((name for name, files in own.items() if path in files), path.name)
    inside = _channels(path, ending) if path.is_dir() else {}
    if len(inside) == 1:
        return next(iter(inside.values()))
    if case in own and not inside:
        return own[case]
    if path.is_dir():
        raise ValueError(
            f"expected one case CASE_0000{ending} in {path}, got {len(inside)} {list(inside)[:5]}; "
            "give a file or a prefix"
        )
    if missing:
        raise ValueError(f"expected {path} to be an image, a prefix of CASE_0000{ending}, or a folder with one case")
    return paths


def _channels(folder: Path, ending: str) -> dict[str, list[Path]]:
    """Cases of a folder: their names, and their files, channel by channel."""
    named = re.compile(rf"(.+)_(\d{{4}}){re.escape(ending)}")
    cases: dict[str, list[Path]] = {}
    for file in sorted(folder.glob(f"*{ending}")):
        if match := named.fullmatch(file.name):
            cases.setdefault(match[1], []).append(file)
    return cases


def read_case(model: TrainedModel, files: Sequence[Path], previous: Path | None = None) -> Case:
    """Read and preprocess a case, as nnU-Net's prediction does.

    Args:
        model: whose plans say how.
        files: channel files.
        previous: segmentation of the previous stage, for a cascade.

    Raises:
        ValueError: if the files do not fit the model.
    """
    predictor = model.predictor
    cascade = predictor.configuration_manager.previous_stage_name is not None
    if cascade != (previous is not None):
        text = "a cascade: give its previous stage's prediction with" if cascade else "no cascade: leave out"
        raise ValueError(f"the model is {text} -prev_stage_prediction")
    image, properties = _read(model, files)
    channels = len(predictor.dataset_json.get("channel_names") or predictor.dataset_json.get("modality"))
    if len(image) != channels:
        raise ValueError(
            f"expected {channels} channels, got {len(image)} in {[f.name for f in files]}; "
            f"give all files CASE_0000{predictor.dataset_json['file_ending']}, CASE_0001..., or the prefix CASE"
        )
    segmentation = None
    if previous is not None:  # nnU-Net's preprocessor writes -1 into it
        segmentation = read_segmentation(model, previous, image.shape[1:])[None].astype(np.float32)
    preprocessor = predictor.configuration_manager.preprocessor_class(verbose=False)
    plans = (predictor.plans_manager, predictor.configuration_manager, predictor.dataset_json)
    data, segmentation, properties = preprocessor.run_case_npy(image, segmentation, properties, *plans)
    if cascade:
        one_hot = convert_labelmap_to_one_hot(segmentation[0], predictor.label_manager.foreground_labels, data.dtype)
        data = np.vstack((data, one_hot))
    grid = Grid.of(image.shape[1:], predictor.plans_manager.transpose_forward, properties, data.shape[1:])
    name = files[0].name.removesuffix(predictor.dataset_json["file_ending"])
    colour = images.is_natural_image(model.reader) and len(files) == 1 and len(image) in (3, 4)
    unit = images.distance_unit(model.reader)
    return Case(re.sub(r"_\d{4}$", "", name), image, properties, data, grid, unit, colour)


def read_segmentation(model: TrainedModel, file: Path, shape: Sequence[int]) -> np.ndarray:
    """Label map of an image of this shape.

    Raises:
        ValueError: if it cannot be read or has another shape.
    """
    labels, _ = images.read_segmentation(model.reader, file)
    if labels.shape != tuple(shape):
        raise ValueError(
            f"expected {file} to have the image's shape {tuple(shape)}, got {labels.shape}; give its segmentation"
        )
    return labels


def predict(model: TrainedModel, case: Case) -> np.ndarray:
    """Segmentation of the whole image, as nnUNetv2_predict makes it, in the shape of ``case.image``."""
    predictor = model.predictor
    logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(case.data)).cpu()
    plans = (predictor.plans_manager, predictor.configuration_manager, predictor.label_manager)
    return convert_predicted_logits_to_segmentation_with_correct_shape(logits, *plans, case.properties)


def centre_of_largest_object(labels: np.ndarray, regions: Sequence[Sequence[int]]) -> Index:
    """The voxel of the largest connected object that is nearest to its centre of mass.

    Args:
        labels: label map, (Z, Y, X).
        regions: labels that make up each kind of object; neighbours share a face.

    Raises:
        ValueError: if no voxel has such a label.
    """
    largest = np.empty((0, labels.ndim), int)
    for values in regions:
        components, _ = ndimage.label(np.isin(labels, values))
        sizes = np.bincount(components.ravel())[1:]
        if sizes.size and sizes.max() > len(largest):
            largest = np.argwhere(components == sizes.argmax() + 1)
    if not len(largest):
        known = sorted({value for values in regions for value in values})
        raise ValueError(f"expected an object of label {known}, none is predicted; choose a voxel with --voxel")
    distances = ((largest - largest.mean(0)) ** 2).sum(1)
    return tuple(int(i) for i in largest[distances.argmin()])


def _read(model: TrainedModel, files: Sequence[Path]) -> tuple[np.ndarray, dict[str, Any]]:
    names = [str(f) for f in files]
    try:
        with contextlib.redirect_stdout(io.StringIO()) as said:
            return model.reader.read_images(names)
    except Exception as error:  # readers of any file format raise what they like
        lines = [*str(error).strip().splitlines()[-1:], *said.getvalue().splitlines()[:1], type(error).__name__]
        raise ValueError(f"{', '.join(names)} cannot be read: {lines[0]}") from error

"""Dice, 95th percentile Hausdorff distance and normalised surface distance of one case.

Distances are MONAI's: between the border voxels of both masks, in the units of the image's spacing. HD95 is the larger
of both directions' 95th percentiles; NSD is the part of both borders that lies within the tolerance of the other one,
counted in border voxels, not by area. The edge of the image counts as border, and an image of one slice is measured as
a 2D image.

Conventions: prediction and reference both empty, all metrics are NaN and left out of means, as nnU-Net does for Dice.
One of them empty, Dice and NSD are 0 and HD95 is the diagonal of the image. Voxels with the ignore label in the
reference are background in both.
"""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from monai.metrics.utils import get_mask_edges, get_surface_distance
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from nnunet_reca.report.scores import CaseScore
from nnunet_reca.results.labels import Region, values_of


def score_case(
    reference: NDArray[np.integer],
    prediction: NDArray[np.integer],
    spacing: Sequence[float],
    regions: Mapping[str, Region],
    *,
    tolerance: float,
    ignore: int | None = None,
) -> dict[str, CaseScore]:
    """Scores by label.

    Args:
        reference, prediction: label maps (D, H, W) or (H, W).
        spacing: of their axes.
        regions: label or region by name.
        tolerance: of NSD, in the unit of the spacing.
        ignore: value of the ignore label.

    Raises:
        ValueError: if the shapes or the spacing do not fit.
    """
    if reference.shape != prediction.shape or len(spacing) != reference.ndim:
        raise ValueError(
            f"expected a prediction of the reference's shape {reference.shape} and a spacing per axis, "
            f"got {prediction.shape} and {tuple(spacing)}; predict the case again"
        )
    if ignore is not None:
        ignored = reference == ignore
        reference, prediction = (np.where(ignored, 0, s).astype(s.dtype) for s in (reference, prediction))
    flat = reference.ndim == 3 and reference.shape[0] == 1
    if flat:
        reference, prediction, spacing = reference[0], prediction[0], spacing[1:]
    diagonal = float(np.linalg.norm(np.multiply(reference.shape, spacing)))
    boxes = [find_objects(segmentation) for segmentation in (reference, prediction)]
    scores = {}
    for name, region in regions.items():
        values = values_of(region)
        box = _union([found[v - 1] for found in boxes for v in values if 0 < v <= len(found)])
        masks = [_mask(segmentation[box], values) for segmentation in (reference, prediction)] if box else []
        scores[name] = _score(masks, spacing, tolerance, diagonal)
    return scores


def _union(boxes: Sequence[tuple[slice, ...] | None]) -> tuple[slice, ...] | None:
    """Smallest box around others; None if there is none."""
    found = [box for box in boxes if box]
    if not found:
        return None
    return tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*found, strict=True))


def _mask(segmentation: NDArray[np.integer], values: Sequence[int]) -> NDArray[np.bool_]:
    return segmentation == values[0] if len(values) == 1 else np.isin(segmentation, values)


def _score(masks: list[NDArray[np.bool_]], spacing: Sequence[float], tolerance: float, diagonal: float) -> CaseScore:
    sizes = [int(mask.sum()) for mask in masks]
    if not sum(sizes):
        return CaseScore(float("nan"), float("nan"), float("nan"))
    if not min(sizes):
        return CaseScore(0.0, diagonal, 0.0, one_empty=True)
    reference, prediction = masks
    dice = 2 * int((reference & prediction).sum()) / sum(sizes)
    if np.array_equal(reference, prediction):
        return CaseScore(dice, 0.0, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of MONAI about its own calls
        edges = get_mask_edges(prediction, reference, crop=False)  # they are cropped, and MONAI copies often
        distances = [get_surface_distance(*pair, spacing=[float(s) for s in spacing]) for pair in (edges, edges[::-1])]
    hd95 = max(float(np.percentile(one, 95)) for one in distances)
    within = sum(int((one <= tolerance).sum()) for one in distances)
    return CaseScore(dice, hd95, within / sum(len(one) for one in distances))

"""Overlays of the cases in which the models differ most: image, reference, predictions, and where they are wrong."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from nnunet_reca.report.agreement import Common
from nnunet_reca.report.figures import DPI, LINES, ON_GREY, STYLE, Drawing, fitting_columns, style_of
from nnunet_reca.report.models import Key, Model, Region
from nnunet_reca.report.naming import number, wrapped
from nnunet_reca.report.scores import Scores, read_segmentation
from nnunet_reca.report.statistics import nan_mean

#: both of two models wrong
BOTH = "#F0E442"
#: panels in a row
PER_ROW = 6
#: of a slice around what is segmented in it
MARGIN = 0.25


@dataclass(frozen=True)
class Slice:
    """One slice of a case, cropped.

    Attributes:
        image: grey values (H, W), None where there is no image.
        reference: label map (H, W).
        predictions: label maps, one for each model.
        aspect: height / width of a pixel.
        title: which slice.
    """

    image: NDArray[np.float32] | None
    reference: NDArray[np.integer]
    predictions: tuple[NDArray[np.integer], ...]
    aspect: float
    title: str


def most_different(scores: Scores, count: int) -> list[int]:
    """Positions of the cases with the largest spread between models of the labels' mean Dice; at most ``count``."""
    means = nan_mean(scores.values["dice"], 2)
    spread = np.nan_to_num(means.max(0) - means.min(0), nan=0.0)
    order = np.argsort(-spread, kind="stable")[:count]
    return [int(position) for position in order if spread[position] > 0]


def draw_overlays(
    models: Sequence[Model],
    common: Common,
    scores: Scores,
    references: Mapping[str, Path],
    images: Mapping[str, Sequence[Path]],
    reader: Any,
    names: Mapping[str, str],
    folder: Path,
    count: int,
) -> list[Drawing]:
    """A figure for each of the cases in which the models differ most.

    Args:
        references: segmentation by case.
        images: channels by case; a case without is drawn without its image.
        reader: nnU-Net's.
        count: most figures.
    """
    from tqdm import tqdm

    found = []
    means = nan_mean(scores.values["dice"], 2) * 100
    for rank, position in enumerate(tqdm(most_different(scores, count), desc="drawing cases", unit="case"), start=1):
        key = scores.keys[position]
        cut = _slice(models, key, references[key[1]], images.get(key[1], ()), reader, common.ignore)
        titles = [f"{wrapped(names[m.name], 28)}\nDice {number(means[n, position])}" for n, m in enumerate(models)]
        file = folder / f"overlay_{rank}.png"
        _draw(cut, titles, common, [names[m.name] for m in models], file)
        dice = ", ".join(f"{names[m.name]} {number(means[n, position])}" for n, m in enumerate(models))
        found.append(
            Drawing(
                file,
                f"{key[1]} (fold {key[0]}), {cut.title}, where the models disagree most. Mean Dice (%): {dice}."
                + ("" if cut.image is not None else " The image was not found."),
            )
        )
    return found


def _slice(
    models: Sequence[Model], key: Key, reference: Path, image: Sequence[Path], reader: Any, ignore: int | None
) -> Slice:
    """The slice across the coarsest axis in which most voxels differ between the models."""
    truth, spacing = read_segmentation(reader, reference)
    predictions = [read_segmentation(reader, model.validations[key].prediction)[0] for model in models]
    if ignore is not None:
        predictions = [np.where(truth == ignore, truth, p).astype(truth.dtype) for p in predictions]
    differ = np.zeros(truth.shape, dtype=bool)
    for prediction in predictions[1:]:
        differ |= prediction != predictions[0]
    axis = int(np.argmax(spacing))
    others = tuple(n for n in range(3) if n != axis)
    index = int(differ.sum(axis=others).argmax())
    maps = [np.take(volume, index, axis) for volume in (truth, *predictions)]
    box = _box(np.any([m > 0 for m in maps], axis=0))
    picture = _image(reader, image, truth.shape, index, axis)
    return Slice(
        None if picture is None else picture[box],
        maps[0][box],
        tuple(m[box] for m in maps[1:]),
        spacing[others[0]] / spacing[others[1]],
        f"slice {index} of {truth.shape[axis]}" if truth.shape[axis] > 1 else "whole image",
    )


def _image(
    reader: Any, files: Sequence[Path], shape: tuple[int, ...], index: int, axis: int
) -> NDArray[np.float32] | None:
    """Slice of the first channel; the mean of a colour image's."""
    try:
        data, _ = reader.read_images([str(file) for file in files[:1]])
    except Exception:  # the overlay goes without
        return None
    data = data.mean(0) if type(reader).__name__ == "NaturalImage2DIO" else data[0]
    return np.take(data, index, axis) if data.shape == shape else None


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Box around a mask (H, W) with a margin; everything where the mask is empty."""
    if not mask.any():
        return slice(None), slice(None)
    sides = [np.flatnonzero(mask.any(axis=1 - n)) for n in range(2)]
    margin = max(4, int(MARGIN * max(side[-1] - side[0] for side in sides)))
    return tuple(slice(max(0, side[0] - margin), side[-1] + margin + 1) for side in sides)


def _draw(cut: Slice, titles: Sequence[str], common: Common, names: Sequence[str], file: Path) -> None:
    panels = 3 + len(titles)
    down = math.ceil(panels / PER_ROW)
    across = math.ceil(panels / down)
    height, width = cut.reference.shape
    panel = 2.1 * min(1.6, max(0.55, cut.aspect * height / width))
    text = 0.16 * max(title.count("\n") + 1 for title in titles) + 0.1
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(2.1 * across, (panel + text) * down + 0.4), layout="constrained")
        axes = list(figure.subplots(down, across, squeeze=False).flat)
        for axis in axes:
            axis.set_axis_off()
        for axis in axes[:panels]:
            _show(axis, cut)
        shown = [cut.reference, *cut.predictions]
        for axis, title in zip(axes, ["Image", "Reference", *titles, "Wrong voxels"], strict=False):
            axis.set_title(title, fontsize=8)
        for axis, segmentation in zip(axes[1:], shown, strict=False):
            _draw_regions(axis, segmentation, common.regions, cut.aspect)
        handles = _region_handles(shown, common.regions)
        handles += _draw_wrong(axes[panels - 1], cut, names)
        columns = fitting_columns([handle.get_label() for handle in handles], 2.1 * across)
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8)
        figure.savefig(file, dpi=DPI, facecolor="white", bbox_inches="tight", pad_inches=0.04)


def _show(axis: Any, cut: Slice) -> None:
    if cut.image is None:
        axis.imshow(np.zeros(cut.reference.shape), cmap="gray", vmin=0, vmax=1, aspect=cut.aspect)
        return
    low, high = np.percentile(cut.image, (1, 99))
    axis.imshow(
        cut.image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), aspect=cut.aspect, interpolation="bicubic"
    )


def _values(region: Region) -> tuple[int, ...]:
    return (region,) if isinstance(region, int) else region


def _region_style(index: int) -> tuple[str, str]:
    return ON_GREY[index % len(ON_GREY)], LINES[(index // len(ON_GREY)) % len(LINES)]


def _draw_regions(axis: Any, segmentation: NDArray[np.integer], regions: Mapping[str, Region], aspect: float) -> None:
    for index, region in enumerate(regions.values()):
        mask = np.isin(segmentation, _values(region))
        if not mask.any():
            continue
        colour, line = _region_style(index)
        _fill(axis, mask, colour, 0.3, aspect)
        if not mask.all():
            axis.contour(mask, levels=[0.5], colors=[colour], linewidths=1.3, linestyles=[line])


def _region_handles(shown: Sequence[NDArray[np.integer]], regions: Mapping[str, Region]) -> list[Any]:
    found: list[Any] = []
    for index, (name, region) in enumerate(regions.items()):
        if any(np.isin(segmentation, _values(region)).any() for segmentation in shown):
            colour, line = _region_style(index)
            found.append(Line2D([], [], color=colour, ls=line, lw=2, label=name))
    return found


def _draw_wrong(axis: Any, cut: Slice, names: Sequence[str]) -> list[Any]:
    """Which models are wrong: by name for two, by their number for more. Returns the legend's handles."""
    wrong = np.stack([prediction != cut.reference for prediction in cut.predictions])
    if len(wrong) == 2:
        kinds = [
            (wrong[0] & ~wrong[1], style_of(0)[0], f"only {names[0]} wrong"),
            (~wrong[0] & wrong[1], style_of(1)[0], f"only {names[1]} wrong"),
            (wrong[0] & wrong[1], BOTH, "both wrong"),
        ]
    else:
        levels = matplotlib.colormaps["plasma"](np.linspace(0.25, 1, len(wrong)))
        count = wrong.sum(0)
        kinds = [(count == n + 1, level, f"{n + 1} of {len(wrong)} wrong") for n, level in enumerate(levels)]
    for mask, colour, _ in kinds:
        _fill(axis, mask, colour, 0.85, cut.aspect)
    if 0 < (cut.reference > 0).mean() < 1:
        axis.contour(cut.reference > 0, levels=[0.5], colors="white", linewidths=0.8)
    return [Patch(color=colour, label=text) for _, colour, text in kinds]


def _fill(axis: Any, mask: NDArray[np.bool_], colour: Any, alpha: float, aspect: float) -> None:
    layer = np.zeros((*mask.shape, 4))
    layer[mask] = to_rgba(colour, alpha)
    axis.imshow(layer, interpolation="nearest", aspect=aspect)

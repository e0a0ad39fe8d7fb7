"""Overlays of the cases in which the models differ most: image, reference, predictions, and where they are wrong."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from nnunet_reca.report.figures import DPI, STYLE, Drawing, legend, style_of
from nnunet_reca.report.gather import Gathered
from nnunet_reca.report.metrics import METRICS
from nnunet_reca.report.models import Key, Model
from nnunet_reca.report.naming import UNKNOWN, number, wrapped
from nnunet_reca.report.runs import seed_name
from nnunet_reca.report.scores import Scores
from nnunet_reca.report.statistics import rightly_empty_is_perfect
from nnunet_reca.results.images import common_spacing, is_natural_image, read_segmentation
from nnunet_reca.results.labels import Region, values_of
from nnunet_reca.results.palette import LINES, ON_GREY

#: both of two models wrong
BOTH = "#F0E442"
#: labels that have no style of their own: colour and line
OTHERS = ("#C8C8C8", "-")
#: panels in a row, and width of one in inches
PER_ROW, PANEL = 6, 2.1
#: of a slice around what is segmented in it
MARGIN = 0.25


@dataclass(frozen=True)
class Slice:
    """One slice of a case, cropped.

    Attributes:
        image: grey values (H, W), None where there is no image.
        reference: label map (H, W) of what is compared, see :func:`compared_labels`.
        predictions: label maps, one for each model.
        aspect: height / width of a pixel.
        title: which slice.
    """

    image: NDArray[np.float32] | None
    reference: NDArray[np.integer]
    predictions: tuple[NDArray[np.integer], ...]
    aspect: float
    title: str


def most_different(scores: Scores, count: int) -> pd.DataFrame:
    """Mean Dice of the cases with the largest spread between models, (fold, case) by models; at most ``count``.

    A model without a score where others have one is right, as in the paired statistics. Of several runs it is the mean.
    """
    runs = scores.frame.groupby(["fold", "case", "model", "run"], observed=True)["dice"].mean()
    means = runs.groupby(["fold", "case", "model"], observed=True).mean().unstack("model")
    values = rightly_empty_is_perfect(METRICS[0], means.to_numpy().T)
    spread = np.nan_to_num(values.max(0) - values.min(0), nan=0.0)
    order = [n for n in np.argsort(-spread, kind="stable")[:count] if spread[n] > 0]
    return means.iloc[order]


def middle_runs(scores: Scores, key: Key) -> dict[str, tuple[str, float, float, float]]:
    """Of every model the run whose mean Dice of a case is the middle one of its runs, the lower of two.

    Returns:
        seed, its mean Dice, and the least and the largest of all runs; NaN where a run has no score.
    """
    frame = scores.frame[(scores.frame["fold"] == key[0]) & (scores.frame["case"] == key[1])]
    dice = frame.groupby(["model", "run"], observed=True)["dice"].mean()
    found = {}
    for model in scores.models:
        values = dice[model].sort_values(kind="stable")  # those without a score last
        middle = (len(values) - 1) // 2
        found[model] = (str(values.index[middle]), float(values.iloc[middle]), float(values.min()), float(values.max()))
    return found


def draw_overlays(
    gathered: Gathered, scores: Scores, names: Mapping[str, str], folder: Path, count: int
) -> list[Drawing]:
    """A figure for each of the cases in which the models differ most; a case without an image is drawn without.

    Args:
        names: shown names of the models.
        count: most figures.
    """
    from tqdm import tqdm

    drawings = []
    models = [names[model] for model in scores.models]
    chosen = most_different(scores, count)
    rows = tqdm(chosen.iterrows(), "drawing cases", len(chosen), unit="case")
    folders = gathered.folders()
    for rank, ((fold, case), _) in enumerate(rows, start=1):
        runs = middle_runs(scores, (fold, case))
        view = _slice(gathered, [folders[model][seed] for model, (seed, *_) in runs.items()], (fold, case))
        dice = [number(run[1] * 100) for run in runs.values()]
        about = [_about_run(run, len(scores.runs[model])) for model, run in runs.items()]
        titles = [f"{wrapped(name, 28)}\nDice {text}" for name, text in zip(models, about, strict=True)]
        file = folder / f"overlay_{rank}.png"
        _draw(view, titles, gathered.common.regions, models, file)
        shown = ", ".join(f"{name} {text}" for name, text in zip(models, about, strict=True)).replace("\n", " ")
        text = f"{case} (fold {fold}), {view.title}, where the models disagree most. Mean Dice (%): {shown}."
        text += " Of several runs, the one is shown whose Dice is the middle one." * scores.several_runs
        text += " A dash: reference and prediction are both empty." if UNKNOWN in dice else ""
        text += " The image was not found." if view.image is None else ""
        drawings.append(Drawing(file, text))
    return drawings


def _about_run(run: tuple[str, float, float, float], runs: int) -> str:
    """Dice of a run, and which of several it is."""
    seed, dice, least, largest = run
    if runs == 1:
        return number(dice * 100)
    return f"{number(dice * 100)}\n{seed_name(seed)}; runs {number(least * 100, 1)} to {number(largest * 100, 1)}"


def compared_labels(
    segmentation: NDArray[np.integer], regions: Mapping[str, Region], ignored: NDArray[np.bool_] | None
) -> NDArray[np.integer]:
    """Label map of what is compared: 0 outside of all regions and where voxels are ignored.

    Values of the same regions become one, so that two maps differ where a region does, and nowhere else.
    """
    shown = np.zeros_like(segmentation)
    first: dict[tuple[str, ...], int] = {}
    for value in sorted({value for region in regions.values() for value in values_of(region)}):
        mine = tuple(name for name, region in regions.items() if value in values_of(region))
        same = first.setdefault(mine, value)
        if value <= np.iinfo(segmentation.dtype).max:
            shown[segmentation == value] = same
    if ignored is not None:
        shown[ignored] = 0
    return shown


def _slice(gathered: Gathered, models: Sequence[Model], key: Key) -> Slice:
    """The slice across the coarsest axis in which most voxels differ between the models."""
    common = gathered.common
    truth, spacing = read_segmentation(gathered.reader, gathered.references[key[1]])
    ignored = None if common.ignore is None else truth == common.ignore
    truth = compared_labels(truth, common.regions, ignored)
    predictions = []
    for model in models:
        prediction, own = read_segmentation(gathered.reader, model.validations[key].prediction)
        spacing = common_spacing(spacing, own, truth.ndim)
        predictions.append(compared_labels(prediction, common.regions, ignored))
    steps = common_spacing(spacing, None, truth.ndim)
    axis, index = _most_different_slice(predictions, steps)
    others = tuple(n for n in range(3) if n != axis)
    maps = [np.take(volume, index, axis) for volume in (truth, *predictions)]
    box = _box(np.any([m > 0 for m in maps], axis=0))
    picture = _image(gathered.reader, gathered.images.get(key[1], ()), truth.shape, index, axis)
    return Slice(
        None if picture is None else picture[box],
        maps[0][box],
        tuple(m[box] for m in maps[1:]),
        steps[others[0]] / steps[others[1]],
        f"slice {index} of {truth.shape[axis]}" if truth.shape[axis] > 1 else "whole image",
    )


def _most_different_slice(predictions: Sequence[NDArray[np.integer]], spacing: Sequence[float]) -> tuple[int, int]:
    """Coarsest axis and position along it."""
    differ = np.zeros(predictions[0].shape, dtype=bool)
    for prediction in predictions[1:]:
        differ |= prediction != predictions[0]
    axis = int(np.argmax(spacing))
    return axis, int(differ.sum(axis=tuple(n for n in range(3) if n != axis)).argmax())


def _image(
    reader: Any, files: Sequence[Path], shape: tuple[int, ...], index: int, axis: int
) -> NDArray[np.float32] | None:
    """Slice of the first channel; the mean of a colour image's."""
    try:
        data, _ = reader.read_images([str(file) for file in files[:1]])
    except Exception:  # the overlay goes without
        return None
    data = data.mean(0) if is_natural_image(reader) else data[0]
    return np.take(data, index, axis) if data.shape == shape else None


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Box around a mask (H, W) with a margin; everything where the mask is empty."""
    if not mask.any():
        return slice(None), slice(None)
    sides = [np.flatnonzero(mask.any(axis=1 - n)) for n in range(2)]
    margin = max(4, int(MARGIN * max(side[-1] - side[0] for side in sides)))
    return tuple(slice(max(0, side[0] - margin), side[-1] + margin + 1) for side in sides)


def _draw(view: Slice, titles: Sequence[str], regions: Mapping[str, Region], names: Sequence[str], file: Path) -> None:
    panels = 3 + len(titles)
    down = math.ceil(panels / PER_ROW)
    across = math.ceil(panels / down)
    height, width = view.reference.shape
    panel = PANEL * min(1.6, max(0.55, view.aspect * height / width))
    text = 0.16 * max(title.count("\n") + 1 for title in titles) + 0.1
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(layout="constrained")
        axes = list(figure.subplots(down, across, squeeze=False).flat)
        for axis in axes:
            axis.set_axis_off()
        for axis in axes[:panels]:
            _show(axis, view)
        for axis, title in zip(axes, ["Image", "Reference", *titles, "Wrong voxels"], strict=False):
            axis.set_title(title, fontsize=8)
        styles = region_styles(view, regions)
        for axis, segmentation in zip(axes[1:], [view.reference, *view.predictions], strict=False):
            _draw_regions(axis, segmentation, regions, styles, view.aspect)
        handles = [*_region_handles(styles), *_draw_wrong(axes[panels - 1], view, names)]
        below = legend(figure, handles, PANEL * across, size=8)
        figure.set_size_inches(PANEL * across, (panel + text) * down + below)
        figure.savefig(file, dpi=DPI, facecolor="white", bbox_inches="tight", pad_inches=0.04)


def _show(axis: Any, view: Slice) -> None:
    if view.image is None:
        axis.imshow(np.zeros(view.reference.shape), cmap="gray", vmin=0, vmax=1, aspect=view.aspect)
        return
    low, high = np.percentile(view.image, (1, 99))
    axis.imshow(
        view.image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), aspect=view.aspect, interpolation="bicubic"
    )


def region_styles(view: Slice, regions: Mapping[str, Region]) -> dict[str, tuple[str, str]]:
    """Colour and line of every label in the slice, by name.

    No two are alike as long as the styles last. A data set of more labels has them for those of which most voxels are
    wrong in this slice, all others are grey.
    """
    wrong = {}
    for name, region in regions.items():
        reference, *predictions = (np.isin(s, values_of(region)) for s in (view.reference, *view.predictions))
        if reference.any() or any(prediction.any() for prediction in predictions):
            wrong[name] = sum(int((prediction != reference).sum()) for prediction in predictions)
    styles = [(colour, line) for line in LINES for colour in ON_GREY]
    if len(regions) <= len(styles):
        return {name: style for name, style in zip(regions, styles, strict=False) if name in wrong}
    chosen = sorted(wrong, key=lambda name: -wrong[name])[: len(styles)]
    own = dict(zip((name for name in wrong if name in chosen), styles, strict=False))
    return {name: own.get(name, OTHERS) for name in wrong}


def _draw_regions(
    axis: Any,
    segmentation: NDArray[np.integer],
    regions: Mapping[str, Region],
    styles: Mapping[str, tuple[str, str]],
    aspect: float,
) -> None:
    for name, (colour, line) in styles.items():
        mask = np.isin(segmentation, values_of(regions[name]))
        if not mask.any():
            continue
        _paint(axis, mask, colour, 0.3, aspect)
        if not mask.all():
            axis.contour(mask, levels=[0.5], colors=[colour], linewidths=1.3, linestyles=[line])


def _region_handles(styles: Mapping[str, tuple[str, str]]) -> list[Any]:
    own = {name: style for name, style in styles.items() if style != OTHERS}
    handles: list[Any] = [Line2D([], [], color=c, ls=line, lw=2, label=name) for name, (c, line) in own.items()]
    others = len(styles) - len(own)
    if others:
        handles.append(Line2D([], [], color=OTHERS[0], ls=OTHERS[1], lw=2, label=f"{others} other labels"))
    return handles


def _draw_wrong(axis: Any, view: Slice, names: Sequence[str]) -> list[Any]:
    """Which models are wrong: by name for two, by their number for more. Returns the legend's handles."""
    wrong = np.stack([prediction != view.reference for prediction in view.predictions])
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
        _paint(axis, mask, colour, 0.85, view.aspect)
    if 0 < (view.reference > 0).mean() < 1:
        axis.contour(view.reference > 0, levels=[0.5], colors="white", linewidths=0.8)
    return [Patch(color=colour, label=text) for _, colour, text in kinds]


def _paint(axis: Any, mask: NDArray[np.bool_], colour: Any, alpha: float, aspect: float) -> None:
    layer = np.zeros((*mask.shape, 4))
    layer[mask] = to_rgba(colour, alpha)
    axis.imshow(layer, interpolation="nearest", aspect=aspect)

"""Figures: where the network looks, stage by stage, with the carry and without it; and what every cut changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch as Swatch
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from nnunet_reca.explain.legend import legend_below, wrapped
from nnunet_reca.explain.overlap import Cut, Overlaps
from nnunet_reca.explain.planes import Plane
from nnunet_reca.results.palette import ON_GREY

ATTENTION, DIFFERENCE = "magma", "RdBu_r"
OVERLAY = 0.75
DPI = 200
#: Inches: width of a panel, height of a colour bar.
WIDTH, BAR = 1.95, 0.09
#: White that shows on white.
OUTLINED: dict[str, Any] = {"color": "white", "path_effects": [withStroke(linewidth=2, foreground="black")]}
THIN = [withStroke(linewidth=1, foreground="black")]


@dataclass(frozen=True)
class Column:
    """Attention of one layer in a plane, arrays (rows, columns).

    Attributes:
        title: layer, heads and window.
        carried: attention in multiples of uniform attention; None in a self-attention twin.
        alone: the same without the carry.
        visible: True where the token may attend to.
        token: True in the token that attends.
    """

    title: str
    carried: np.ndarray | None
    alone: np.ndarray
    visible: np.ndarray
    token: np.ndarray


@dataclass(frozen=True)
class Scene:
    """What all panels of a figure share, arrays (rows, columns).

    Attributes:
        title: of the figure.
        plane: that is shown.
        unit: of its spacing, mm or px.
        image: grey, 0 to 1.
        colour: (rows, columns, 3) where the image has colours, otherwise ``image``.
        point: the chosen voxel, to the right and down, in ``unit``.
        patch: True in the network's input.
        full: prediction, as 1 + number of the object in ``objects``, 0 elsewhere.
        without: the same with every carry cut, None in a self-attention twin.
        differ: voxels of the whole image in which both differ.
        objects: their names.
    """

    title: str
    plane: Plane
    unit: str
    image: np.ndarray
    colour: np.ndarray
    point: tuple[float, float]
    patch: np.ndarray
    full: np.ndarray
    without: np.ndarray | None
    differ: int
    objects: Sequence[str]

    @property
    def numbered(self) -> bool:
        """Whether there are more objects than colours, so that their numbers tell them apart."""
        return len(self.objects) > len(ON_GREY)


def draw_attention(file: Path, scene: Scene, columns: Sequence[Column]) -> None:
    """One figure: rows carry on, carry off and difference, columns the prediction and the layers.

    Off means every carry in the column of the prediction, and that of its own chain in a layer's.
    """
    recurrent = scene.without is not None
    zoom = scene.plane.box(scene.patch) or (0, 0, 1, 1)
    height = WIDTH * min(1.8, max(0.55, zoom[3] / zoom[2]))
    heights = [height, height, BAR, height, BAR] if recurrent else [height, BAR]
    shown = [0, 1, 3] if recurrent else [0]
    size = (max(5, 0.55 + (len(columns) + 1) * (WIDTH + 0.12)), sum(heights) + (2.5 if recurrent else 1.6))
    figure = Figure(figsize=size, dpi=DPI, layout=ConstrainedLayoutEngine(h_pad=0.07))
    axes = figure.subplots(len(heights), len(columns) + 1, height_ratios=heights, squeeze=False)
    for row in set(range(len(heights))) - set(shown):
        axes[row, 0].axis("off")
    _prediction_panels([axes[row, 0] for row in shown], scene)
    for number, (column, below) in enumerate(zip(columns, axes.T[1:], strict=True)):
        _attention_panels(figure, below, column, scene)
        for row in shown:
            below[row].tick_params(labelleft=number == 0)
    for row in shown:
        for axis in axes[row]:
            if axis is not axes[0, 0]:  # which shows the whole image
                axis.set_xlim(zoom[0], zoom[0] + zoom[2])
                axis.set_ylim(zoom[1] + zoom[3], zoom[1])
            axis.tick_params(labelsize=6, length=2, pad=1, labelbottom=row == shown[-1] or axis is axes[0, 0])
    axes[shown[-1], 0].set_xlabel(scene.unit, fontsize=7, labelpad=1)
    for row, name in zip(shown, ("carry on", "carry off", "on − off") if recurrent else ("attention",), strict=True):
        axes[row, 0].set_ylabel(f"{name}\n{scene.unit}", fontsize=8)
    figure.suptitle(wrapped(figure, scene.title, 8), fontsize=8)
    legend_below(figure, _handles(scene))
    figure.savefig(file)


def _prediction_panels(axes: Sequence[Axes], scene: Scene) -> None:
    """Predictions with the carry and without it on the image, and where both differ."""
    _background(axes[0], scene.colour, scene.plane)
    _outlines(axes[0], scene.full, scene)
    _numbers(axes[0], scene.full, scene)
    _place(axes[0], scene)
    axes[0].set_title("prediction", fontsize=7)
    if scene.without is None:
        return
    _background(axes[1], scene.colour, scene.plane)
    _outlines(axes[1], scene.without, scene)
    _numbers(axes[1], scene.without, scene)
    axes[1].set_title("prediction, every carry cut", fontsize=7)
    _background(axes[2], scene.image, scene.plane)
    here = scene.full != scene.without
    changed = np.zeros((*here.shape, 4))
    changed[here] = to_rgba(ON_GREY[5])
    axes[2].imshow(changed, extent=_extent(here, scene.plane), interpolation="nearest")
    axes[2].set_title(f"{scene.differ} voxels differ, {here.sum()} here", fontsize=7)


def _place(axis: Axes, scene: Scene) -> None:
    """The voxel, the patch and the patient's sides."""
    if box := scene.plane.box(scene.patch):
        axis.add_patch(Rectangle(box[:2], *box[2:], fill=False, edgecolor="white", linewidth=0.8, linestyle=":"))
    axis.plot(*scene.point, "+", markersize=7, markeredgewidth=1, **OUTLINED)
    places = ((0.04, 0.5), (0.96, 0.5), (0.5, 0.95), (0.5, 0.05))
    for letter, (x, y) in zip(scene.plane.letters, places, strict=False):
        axis.text(x, y, letter, transform=axis.transAxes, fontsize=6.5, ha="center", va="center", **OUTLINED)


def _attention_panels(figure: Figure, axes: Sequence[Axes], column: Column, scene: Scene) -> None:
    """Panels and colour bars of one layer, from top to bottom."""
    axes[0].set_title(column.title, fontsize=7)
    if column.carried is None:
        shown = _attention_panel(axes[0], column.alone, column, scene, ATTENTION, (0, _top(column.alone)))
        _colour_bar(figure, axes[1], shown, "attention / uniform")
        return
    limits = (0.0, _top(column.carried, column.alone))
    difference = column.carried - column.alone
    most = _top(np.abs(difference))
    _attention_panel(axes[0], column.carried, column, scene, ATTENTION, limits)
    shown = _attention_panel(axes[1], column.alone, column, scene, ATTENTION, limits)
    axes[1].set_title("this chain's carry cut", fontsize=7)
    _colour_bar(figure, axes[2], shown, "attention / uniform")
    shown = _attention_panel(axes[3], difference, column, scene, DIFFERENCE, (-most, most))
    _colour_bar(figure, axes[4], shown, "difference / uniform")


def _attention_panel(
    axis: Axes, values: np.ndarray, column: Column, scene: Scene, colours: str, limits: tuple[float, float]
) -> ScalarMappable:
    """Values on the image where the token may attend to."""
    _background(axis, scene.image, scene.plane)
    shown = axis.imshow(
        np.ma.masked_where(~column.visible, values),
        cmap=colours,
        vmin=limits[0],
        vmax=limits[1],
        alpha=OVERLAY,
        extent=_extent(values, scene.plane),
        interpolation="nearest",
    )
    _outlines(axis, scene.full, scene, width=0.6)
    if box := scene.plane.box(column.token):
        edge: dict[str, Any] = {"fill": False, "edgecolor": "white", "linewidth": 0.9, "zorder": 3}
        axis.add_patch(Rectangle(box[:2], *box[2:], **edge, path_effects=OUTLINED["path_effects"]))
    return shown


def _colour_bar(figure: Figure, axis: Axes, shown: ScalarMappable, label: str) -> None:
    bar = figure.colorbar(shown, cax=axis, orientation="horizontal", ticks=MaxNLocator(4, steps=[1, 2, 5, 10]))
    bar.outline.set_linewidth(0.4)
    axis.set_xlabel(label, fontsize=6)
    axis.tick_params(labelsize=6, length=2, pad=1)


def _top(*values: np.ndarray) -> float:
    """Upper end of a colour bar."""
    return max(1e-6, *(float(v.max()) for v in values))


def _background(axis: Axes, image: np.ndarray, plane: Plane) -> None:
    axis.imshow(image, cmap="gray", vmin=0, vmax=1, extent=_extent(image, plane), interpolation="nearest")


def _outlines(axis: Axes, labels: np.ndarray, scene: Scene, width: float = 1.0) -> None:
    """Outlines of the objects, along the edges of voxels."""
    dy, dx = scene.plane.spacing
    for number in range(1, len(scene.objects) + 1):
        mask = np.pad(labels == number, 1)
        if not mask.any():
            continue
        across, down = mask[:, 1:] != mask[:, :-1], mask[1:] != mask[:-1]
        lines = [([c * dx, c * dx], [(r - 1) * dy, r * dy]) for r, c in np.argwhere(across)]
        lines += [([(c - 1) * dx, c * dx], [r * dy, r * dy]) for r, c in np.argwhere(down)]
        segments = [list(zip(*line, strict=True)) for line in lines]
        axis.add_collection(LineCollection(segments, colors=_colour(number - 1), linewidths=width))


def _numbers(axis: Axes, labels: np.ndarray, scene: Scene) -> None:
    """Numbers of the objects where colours do not suffice, each on the voxel nearest to the object's centre."""
    for number in np.unique(labels[labels > 0]) if scene.numbered else ():
        voxels = np.argwhere(labels == number)
        row, column = voxels[((voxels - voxels.mean(0)) ** 2).sum(1).argmin()] + 0.5
        dy, dx = scene.plane.spacing
        place: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 5, "clip_on": True}
        axis.text(column * dx, row * dy, str(number), color="white", **place, path_effects=THIN)


def _extent(values: np.ndarray, plane: Plane) -> tuple[float, float, float, float]:
    return 0, values.shape[1] * plane.spacing[1], values.shape[0] * plane.spacing[0], 0


def _colour(number: int) -> str:
    return ON_GREY[number % len(ON_GREY)]


def _handles(scene: Scene) -> list[Any]:
    """What the legend explains: the objects in the plane, the patch and the token."""
    present = set(np.unique(scene.full)) | (set() if scene.without is None else set(np.unique(scene.without)))
    handles: list[Any] = [
        Swatch(facecolor="none", edgecolor=_colour(i), label=f"{i + 1}: {name}" if scene.numbered else name)
        for i, name in enumerate(scene.objects)
        if i + 1 in present
    ]
    return [
        *handles,
        Swatch(facecolor="none", edgecolor="grey", linestyle=":", label="the network's input"),
        Swatch(facecolor="none", edgecolor="grey", label="token of the voxel (+)"),
    ]


def draw_cuts(file: Path, title: str, cuts: Sequence[Cut]) -> None:
    """Bars of 1 - Dice between the predictions of the cut and the whole model, and of the change to the reference."""
    gains: list[Mapping[str, float | None]] = [cut.gain for cut in cuts if cut.gain is not None]
    panels = [("1 − Dice to the whole model's prediction", [_change(cut.to_full) for cut in cuts])]
    if gains:
        panels.append(("Dice to the reference, cut − whole model", [dict(gain) for gain in gains]))
    figure = Figure(figsize=(max(5, 3 + len(cuts)), 0.8 + 2.2 * len(panels)), dpi=DPI, layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for axis, (label, scores) in zip(axes, panels, strict=True):
        _bars(axis, scores)
        axis.set_ylabel(label, fontsize=7)
        axis.set_xticks(range(len(cuts)), [f"{cut.part}\n{cut.chain}" for cut in cuts], fontsize=7)
        axis.tick_params(axis="y", labelsize=6)
        axis.axhline(0, color="black", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(y=0.25)
    axes[-1].set_xlabel("what is cut, and where", fontsize=8)
    legend_below(figure, axes[0].containers)
    figure.suptitle(wrapped(figure, title, 7), fontsize=7)
    figure.savefig(file)


def _change(scores: Overlaps) -> Overlaps:
    return {name: None if score is None else 1 - score for name, score in scores.items()}


def _bars(axis: Axes, scores: Sequence[Overlaps]) -> None:
    """Grouped bars; of many objects the mean alone."""
    names = list(scores[0])
    if len(names) > len(ON_GREY):
        means = [[v for v in score.values() if v is not None] for score in scores]
        scores = [{f"mean of {len(names)} objects": float(np.mean(m)) if m else None} for m in means]
        names = list(scores[0])
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        places = np.arange(len(scores)) + (number - (len(names) - 1) / 2) * width
        values = [score[name] for score in scores]
        bars = axis.bar(places, [v or 0 for v in values], width * 0.92, color=_colour(number), label=name)
        texts = ["none" if v is None else f"{v:.4f}" for v in values]
        axis.bar_label(bars, texts, fontsize=5.5, padding=1, rotation=90 if len(names) > 3 else 0)

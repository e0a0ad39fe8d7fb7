"""Figures: where the network looks, stage by stage, with the carry and without it; and what every cut changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch as Swatch
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from nnunet_reca.explain.overlap import Cut, Scores
from nnunet_reca.explain.planes import Plane

#: Colours of objects, told apart with any colour vision (Okabe and Ito 2008).
COLOURS = ("#56B4E9", "#E69F00", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
ATTENTION, DIFFERENCE = "magma", "RdBu_r"
OVERLAY = 0.75
DPI = 200
#: White that shows on white.
OUTLINED: dict[str, Any] = {"color": "white", "path_effects": [withStroke(linewidth=2, foreground="black")]}


@dataclass(frozen=True)
class Column:
    """Attention of one layer on the image, arrays (Z, Y, X).

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
    """What all panels of a figure share, arrays (Z, Y, X).

    Attributes:
        title: of the figure.
        image: grey, 0 to 1.
        colour: (Z, Y, X, 3) where the image has colours, otherwise ``image``.
        voxel: the chosen voxel.
        patch: True in the network's input.
        full: prediction, as 1 + number of the object in ``objects``, 0 elsewhere.
        without: the same with every carry cut, None in a self-attention twin.
        objects: their names.
    """

    title: str
    image: np.ndarray
    colour: np.ndarray
    voxel: Sequence[int]
    patch: np.ndarray
    full: np.ndarray
    without: np.ndarray | None
    objects: Sequence[str]


def draw_attention(file: Path, scene: Scene, columns: Sequence[Column], plane: Plane) -> None:
    """One figure: rows carry on, carry off and difference, columns the prediction and the layers."""
    recurrent = scene.without is not None
    index = scene.voxel[plane.axis]
    zoom = plane.box(plane.take(scene.patch, index)) or (0, 0, 1, 1)
    width = 1.95
    height = width * min(1.8, max(0.55, zoom[3] / zoom[2]))
    heights = [height, height, 0.09, height, 0.09] if recurrent else [height, 0.09]
    size = (max(5, 0.55 + (len(columns) + 1) * (width + 0.12)), sum(heights) + (2.4 if recurrent else 1.75))
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    axes = figure.subplots(len(heights), len(columns) + 1, height_ratios=heights, squeeze=False)
    shown = [0, 1, 3] if recurrent else [0]
    for row, axis in enumerate(axes[:, 0]):
        if row not in shown:
            axis.axis("off")
    _prediction_panels([axes[row, 0] for row in shown], scene, plane, index)
    for number, (column, below) in enumerate(zip(columns, axes.T[1:], strict=True)):
        _attention_panels(figure, below, column, scene, plane, index)
        below[0].set_title(column.title, fontsize=7)
        for row in shown:
            below[row].set_xlim(zoom[0], zoom[0] + zoom[2])
            below[row].set_ylim(zoom[1] + zoom[3], zoom[1])
            below[row].tick_params(labelleft=number == 0)
    for row in shown:
        for axis in axes[row]:
            axis.tick_params(labelsize=6, length=2, pad=1, labelbottom=row == shown[-1])
    axes[shown[-1], 0].set_xlabel("mm", fontsize=7, labelpad=1)
    for row, name in zip(shown, ("carry on", "carry off", "on − off") if recurrent else ("attention",), strict=True):
        axes[row, 0].set_ylabel(f"{name}\nmm", fontsize=8)
    figure.suptitle(scene.title, fontsize=8)
    _legend(figure, scene)
    figure.savefig(file)


def _prediction_panels(axes: Sequence[Axes], scene: Scene, plane: Plane, index: int) -> None:
    """Predictions with the carry and without it on the image, and where both differ."""
    full = plane.take(scene.full, index)
    _background(axes[0], plane.take(scene.colour, index), plane)
    _outlines(axes[0], full, plane, len(scene.objects))
    _place(axes[0], scene, plane, index)
    axes[0].set_title("prediction", fontsize=7)
    if scene.without is None:
        return
    without = plane.take(scene.without, index)
    _background(axes[1], plane.take(scene.colour, index), plane)
    _outlines(axes[1], without, plane, len(scene.objects))
    axes[1].set_title("every carry cut", fontsize=7)
    _background(axes[2], plane.take(scene.image, index), plane)
    changed = np.zeros((*full.shape, 4))
    changed[full != without] = to_rgba(COLOURS[5])
    axes[2].imshow(changed, extent=_extent(full, plane), interpolation="nearest")
    differ = (scene.full != scene.without).sum(), (full != without).sum()
    axes[2].set_title(f"{differ[0]} voxels differ, {differ[1]} here", fontsize=7)


def _place(axis: Axes, scene: Scene, plane: Plane, index: int) -> None:
    """The voxel, the patch and the patient's sides."""
    if box := plane.box(plane.take(scene.patch, index)):
        axis.add_patch(Rectangle(box[:2], *box[2:], fill=False, edgecolor="white", linewidth=0.8, linestyle=":"))
    axis.plot(*plane.point(scene.voxel, scene.image.shape), "+", markersize=7, markeredgewidth=1, **OUTLINED)
    for letter, (x, y) in zip(plane.letters, ((0.04, 0.5), (0.96, 0.5), (0.5, 0.95), (0.5, 0.05)), strict=False):
        axis.text(x, y, letter, transform=axis.transAxes, fontsize=6.5, ha="center", va="center", **OUTLINED)


def _attention_panels(
    figure: Figure, axes: Sequence[Axes], column: Column, scene: Scene, plane: Plane, index: int
) -> None:
    """Panels and colour bars of one layer, from top to bottom."""
    visible, token = (plane.take(x, index) for x in (column.visible, column.token))
    alone = plane.take(column.alone, index)
    carried = alone if column.carried is None else plane.take(column.carried, index)
    top = max(float(carried.max()), float(alone.max()), 1e-6)
    rows = [(axes[0], carried, ATTENTION, 0.0, top)]
    if column.carried is not None:
        most = max(float(np.abs(carried - alone).max()), 1e-6)
        rows += [(axes[1], alone, ATTENTION, 0.0, top), (axes[3], carried - alone, DIFFERENCE, -most, most)]
    for axis, values, colours, low, high in rows:
        _background(axis, plane.take(scene.image, index), plane)
        shown = axis.imshow(
            np.ma.masked_where(~visible, values),
            cmap=colours,
            vmin=low,
            vmax=high,
            alpha=OVERLAY,
            extent=_extent(values, plane),
            interpolation="nearest",
        )
        _outlines(axis, plane.take(scene.full, index), plane, len(scene.objects), width=0.6)
        if box := plane.box(token):
            axis.add_patch(Rectangle(box[:2], *box[2:], fill=False, edgecolor="white", linewidth=0.9))
        if axis is not axes[0] or column.carried is None:
            bar = axes[list(axes).index(axis) + 1]
            figure.colorbar(shown, cax=bar, orientation="horizontal").outline.set_linewidth(0.4)
            bar.set_xlabel("attention / uniform" if colours == ATTENTION else "difference / uniform", fontsize=6)
            bar.tick_params(labelsize=6, length=2, pad=1)


def _background(axis: Axes, image: np.ndarray, plane: Plane) -> None:
    axis.imshow(image, cmap="gray", vmin=0, vmax=1, extent=_extent(image, plane), interpolation="nearest")


def _outlines(axis: Axes, labels: np.ndarray, plane: Plane, objects: int, width: float = 1.0) -> None:
    """Outlines of the objects, along the edges of voxels."""
    dy, dx = plane.spacing
    for number in range(1, objects + 1):
        mask = np.pad(labels == number, 1)
        if not mask.any():
            continue
        across, down = mask[:, 1:] != mask[:, :-1], mask[1:] != mask[:-1]
        lines = [([c * dx, c * dx], [(r - 1) * dy, r * dy]) for r, c in np.argwhere(across)]
        lines += [([(c - 1) * dx, c * dx], [r * dy, r * dy]) for r, c in np.argwhere(down)]
        segments = [list(zip(*line, strict=True)) for line in lines]
        axis.add_collection(LineCollection(segments, colors=_colour(number - 1), linewidths=width))


def _extent(values: np.ndarray, plane: Plane) -> tuple[float, float, float, float]:
    return 0, values.shape[1] * plane.spacing[1], values.shape[0] * plane.spacing[0], 0


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _legend(figure: Figure, scene: Scene) -> None:
    present = set(np.unique(scene.full)) | (set() if scene.without is None else set(np.unique(scene.without)))
    handles: list[Any] = [
        Swatch(facecolor="none", edgecolor=_colour(i), label=name)
        for i, name in enumerate(scene.objects)
        if i + 1 in present
    ]
    handles += [
        Swatch(facecolor="none", edgecolor="grey", linestyle=":", label="the network's input"),
        Swatch(facecolor="none", edgecolor="grey", label="token of the voxel (+)"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(handles)), fontsize=6.5, frameon=False)


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
        axis.set_xticks(range(len(cuts)), [cut.name for cut in cuts], fontsize=7)
        axis.tick_params(axis="y", labelsize=6)
        axis.axhline(0, color="black", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(y=0.15)
    axes[-1].set_xlabel("where the carry is cut", fontsize=8)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, fontsize=7, frameon=False, loc="outside right upper")
    figure.suptitle(title, fontsize=8)
    figure.savefig(file)


def _change(scores: Scores) -> Scores:
    return {name: None if score is None else 1 - score for name, score in scores.items()}


def _bars(axis: Axes, scores: Sequence[Scores]) -> None:
    """Grouped bars; of many objects the mean alone."""
    names = list(scores[0])
    if len(names) > len(COLOURS):
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

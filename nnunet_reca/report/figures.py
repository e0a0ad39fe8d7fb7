"""Figures of scores and trainings, for print and for colour-blind readers: colours of Okabe and Ito, and markers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from nnunet_reca.report.content import heading
from nnunet_reca.report.naming import wrapped
from nnunet_reca.report.scores import METRICS, Metric, Scores
from nnunet_reca.report.statistics import MEAN, TIE, by_case, nan_mean, pairs, rightly_empty_is_perfect
from nnunet_reca.results.logs import TrainingLog
from nnunet_reca.results.palette import COLOURS, LINES, MARKERS

BETTER, WORSE, EQUAL = COLOURS[0], COLOURS[1], "#808080"
#: labels in one row of a figure
PER_ROW = 8
#: labels that get a panel of their own in the paired plot
PANELS = 3
#: most boxes of a metric that is drawn beside the others
TOGETHER = 9
DPI = 160

STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Drawing:
    """A figure's file and what it shows.

    Attributes:
        file: PNG.
        caption: below it, also its alternative text.
    """

    file: Path
    caption: str


def draw_scores(scores: Scores, names: Mapping[str, str], folder: Path, *, all_pairs: bool = False) -> list[Drawing]:
    """The paired plot of Dice, and strips and boxes of all metrics."""
    found = [_paired(scores, names, folder / "paired.png", all_pairs)]
    if len(scores.labels) * len(scores.models) <= TOGETHER:
        return [*found, _strips(METRICS, scores, names, folder / "labels.png")]
    return [*found, *(_strips([m], scores, names, folder / f"labels_{m.key}.png") for m in METRICS)]


def style_of(index: int) -> tuple[str, str, str]:
    """Colour, marker and line of a model."""
    return COLOURS[index % 7], MARKERS[(index + index // 7) % 7], LINES[index % 4]


def _paired(scores: Scores, names: Mapping[str, str], file: Path, all_pairs: bool) -> Drawing:
    """Every case's Dice with two models, joined by a line."""
    dice = METRICS[0]
    values = by_case(scores, scores.values["dice"])
    columns: dict[str, NDArray[np.float64]] = {}
    if len(scores.labels) > 1:
        columns[f"{MEAN} of labels"] = nan_mean(values, 2)
    if len(scores.labels) <= PANELS:
        columns |= dict(zip(scores.labels, np.moveaxis(values, 2, 0), strict=True))
    chosen = pairs(len(scores.models), all_pairs=all_pairs)
    panels = [(a, b, label) for a, b in chosen for label in columns]
    across = min(len(panels), len(columns) if len(columns) > 1 else PANELS + 1)
    down = math.ceil(len(panels) / across)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.2 + 2.5 * across, 0.5 + 2.9 * down), layout="constrained")
        grid = figure.subplots(down, across, squeeze=False, sharey="row")
        for axis, (a, b, label) in zip(grid.flat, panels, strict=False):
            _slopes(axis, *rightly_empty_is_perfect(dice, columns[label][[a, b]]) * dice.factor)
            axis.set_xticks([0, 1], [wrapped(names[scores.models[n]]) for n in (a, b)])
            axis.set_title(label)
        for axis in list(grid.flat)[len(panels) :]:
            axis.set_axis_off()
        for axis in grid[:, 0]:
            axis.set_ylabel(heading(dice, scores))
        handles = [
            Line2D([], [], color=c, ls=line, marker=m, ms=4, label=text)
            for c, line, m, text in (
                (BETTER, "-", "^", "right model better"),
                (WORSE, "--", "v", "right model worse"),
                (EQUAL, ":", "o", "equal"),
                ("black", "-", "D", "mean"),
            )
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=2 if across == 1 else 4)
        figure.savefig(file, dpi=DPI, facecolor="white")
    text = "Dice of every case with both models; a line is a case, black the mean."
    if np.isnan(values).any():
        text += " A model that rightly predicts nothing where the other predicts something is drawn at 100."
    return Drawing(file, text)


def _slopes(axis: Any, first: NDArray[np.float64], second: NDArray[np.float64]) -> None:
    kept = ~np.isnan(first + second)
    first, second = first[kept], second[kept]
    alpha = 0.8 if len(first) <= 40 else 0.35
    for a, b in zip(first, second, strict=True):
        colour, line, marker = (
            (EQUAL, ":", "o") if abs(b - a) <= 100 * TIE else (BETTER, "-", "^") if b > a else (WORSE, "--", "v")
        )
        axis.plot([0, 1], [a, b], color=colour, ls=line, lw=1, alpha=alpha)
        axis.plot([1], [b], color=colour, marker=marker, ms=4, alpha=alpha, mec="none")
        axis.plot([0], [a], color=colour, marker="o", ms=2.5, alpha=alpha, mec="none")
    if len(first):
        axis.plot([0, 1], [first.mean(), second.mean()], color="black", marker="D", ms=5, lw=2, zorder=5)
    axis.set_xlim(-0.3, 1.3)
    axis.grid(axis="x", visible=False)


def _strips(metrics: Sequence[Metric], scores: Scores, names: Mapping[str, str], file: Path) -> Drawing:
    """Box and points of every label and model; a column of axes for each metric."""
    lines = math.ceil(len(scores.labels) / PER_ROW)
    across = math.ceil(len(scores.labels) / lines)
    width = min(10.0, len(metrics) * max(2.4, 0.9 + 0.55 * across * (len(scores.models) + 1)))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, 0.5 + 2.7 * lines), layout="constrained")
        grid = figure.subplots(lines, len(metrics), squeeze=False, sharey="col")
        for metric, axes in zip(metrics, grid.T, strict=True):
            for line, axis in enumerate(axes):
                labels = range(line * across, min((line + 1) * across, len(scores.labels)))
                _strip(axis, metric, scores, labels)
                axis.set_xlim(-0.5, across - 0.5)
        handles = [
            Line2D([], [], color=style_of(n)[0], marker=style_of(n)[1], ls="none", ms=5, label=names[m])
            for n, m in enumerate(scores.models)
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=fitting_columns(list(names.values()), width))
        figure.savefig(file, dpi=DPI, facecolor="white")
    return Drawing(
        file,
        f"{', '.join(m.title for m in metrics)} of every case by label and model: median, quartiles, whiskers to the "
        "farthest case within 1.5 quartile ranges; the white diamond is the mean.",
    )


def _strip(axis: Any, metric: Metric, scores: Scores, labels: range) -> None:
    values = by_case(scores, scores.values[metric.key]) * metric.factor
    for place, label in enumerate(labels):
        for n in range(len(scores.models)):
            _box(axis, place, n, len(scores.models), values[n, :, label])
    axis.set_xticks(range(len(labels)), [wrapped(scores.labels[label]) for label in labels])
    axis.set_ylabel(heading(metric, scores))
    axis.grid(axis="x", visible=False)


def _box(axis: Any, place: int, model: int, models: int, values: NDArray[np.float64]) -> None:
    values = values[~np.isnan(values)]
    if not len(values):
        return
    colour, marker, _ = style_of(model)
    step = 0.8 / models
    at = place + (model - (models - 1) / 2) * step
    axis.boxplot(
        [values],
        positions=[at],
        widths=0.7 * step,
        showfliers=False,
        manage_ticks=False,
        medianprops={"color": "black", "lw": 1.4},
        boxprops={"color": colour, "lw": 1.2},
        whiskerprops={"color": colour},
        capprops={"color": colour},
    )
    jitter = np.random.default_rng(0).uniform(-0.2, 0.2, len(values)) * step
    alpha = 0.75 if len(values) <= 40 else 0.35
    axis.plot(at + jitter, values, ls="none", marker=marker, ms=3, color=colour, alpha=alpha, mec="none")
    axis.plot([at], [values.mean()], marker="D", ms=5, mfc="white", mec="black", mew=1, zorder=5)


def draw_training(logs: Mapping[str, Sequence[TrainingLog]], names: Mapping[str, str], file: Path) -> Drawing | None:
    """Losses and pseudo Dice by epoch, thin for folds and bold for their mean; None if no log has an epoch."""
    if not any(log.epochs for model in logs.values() for log in model):
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.5, 3.4), layout="constrained")
        axes = figure.subplots(1, 3)
        for n, (model, folds) in enumerate(logs.items()):
            for axis, pick in zip(axes, ("train_loss", "val_loss", "pseudo_dice"), strict=True):
                _curves(axis, [_series(log, pick) for log in folds], n, names[model])
        for axis, title in zip(axes, ("Training loss", "Validation loss", "Pseudo Dice (%)"), strict=True):
            axis.set_title(title)
            axis.set_xlabel("Epoch")
            axis.xaxis.get_major_locator().set_params(integer=True)
        handles, texts = axes[0].get_legend_handles_labels()
        figure.legend(handles, texts, loc="outside lower center", ncols=fitting_columns(list(names.values()), 9.5))
        figure.savefig(file, dpi=DPI, facecolor="white")
    return Drawing(
        file,
        "Training curves by epoch, thin for each fold and bold for their mean. Losses of different networks and "
        "deep-supervision scales are not comparable in size; pseudo Dice is that of validation patches.",
    )


def _series(log: TrainingLog, pick: str) -> dict[int, float]:
    if pick == "pseudo_dice":
        found = {n: float(np.nanmean(e.pseudo_dice)) * 100 for n, e in log.epochs.items() if _known(e.pseudo_dice)}
    else:
        found = {n: getattr(e, pick) for n, e in log.epochs.items() if getattr(e, pick) is not None}
    return found


def _known(values: Sequence[float]) -> bool:
    return any(not math.isnan(value) for value in values)


def _curves(axis: Any, folds: Sequence[Mapping[int, float]], index: int, name: str) -> None:
    colour, marker, line = style_of(index)
    epochs = sorted({epoch for fold in folds for epoch in fold})
    few = len(epochs) <= 20
    for fold in folds:
        axis.plot(list(fold), list(fold.values()), color=colour, lw=0.7, alpha=0.5, ls=line)
    mean = [float(np.mean([fold[epoch] for fold in folds if epoch in fold])) for epoch in epochs]
    axis.plot(epochs, mean, color=colour, lw=1.8, ls=line, marker=marker if few else None, ms=4.5, label=name)


def fitting_columns(texts: Sequence[str], width: float) -> int:
    """Columns of a legend that fit into inches."""
    longest = max(len(text) for text in texts)
    return max(1, min(len(texts), int(width / (0.6 + 0.075 * longest))))

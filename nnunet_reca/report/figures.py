"""Figures of scores and trainings, for print and for colour-blind readers: colours of Okabe and Ito, and markers."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from nnunet_reca.report.metrics import METRICS, Metric
from nnunet_reca.report.naming import wrapped
from nnunet_reca.report.scores import MEAN, Scores
from nnunet_reca.report.statistics import TIE, pairs, rightly_empty_is_perfect
from nnunet_reca.report.tables import heading
from nnunet_reca.results.logs import TrainingLog
from nnunet_reca.results.palette import COLOURS, LINES, MARKERS

#: labels that get a panel of their own in the paired plot
PANELS = 3
#: most boxes below each other in a figure, so that it fits on a printed page
BOXES = 48
#: width of a figure that fills a page, in inches
PAGE = 10.0
#: of a legend's entry of one line, in inches
LINE = 0.175
DPI = 160
#: how cases are drawn by which of two models is better: colour, line and marker
OUTCOMES = {
    "right model better": (COLOURS[0], "-", "^"),
    "right model worse": (COLOURS[1], "--", "v"),
    "equal": ("#808080", ":", "o"),
}
#: how a run is drawn beside its model
RUN: Any = {"ls": "none", "marker": "D", "ms": 3.5, "mfc": "none", "mec": "black", "mew": 0.8}
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
    """Every run's scores where there are several, the paired plot of Dice, and points and boxes of all metrics."""
    runs = [_draw_runs(scores, names, folder / "runs.png")] if scores.several_runs else []
    return [*runs, _draw_pairs(scores, names, folder / "paired.png", all_pairs), *_draw_labels(scores, names, folder)]


def style_of(index: int) -> tuple[str, str, str]:
    """Colour, marker and line of a model."""
    return COLOURS[index % 7], MARKERS[(index + index // 7) % 7], LINES[index % 4]


def legend(figure: Figure, handles: Sequence[Any], width: float, *, size: float = 8.5) -> float:
    """A legend below all axes, in as many columns as fit into ``width``; longer names are in several lines.

    Returns:
        height in inches, which the figure must have beside its axes.
    """
    room = 0.6 * size / 8.5
    letter = 0.075 * size / 8.5
    for handle in handles:
        handle.set_label(wrapped(handle.get_label(), max(20, int((width - room) / letter) - 1)))
    lines = [handle.get_label().split("\n") for handle in handles]
    longest = max(len(line) for label in lines for line in label)
    columns = max(1, min(len(handles), int(width / (room + letter * longest))))
    rows = math.ceil(len(handles) / columns)
    figure.legend(handles=list(handles), loc="outside lower center", ncols=columns, fontsize=size)
    return LINE * rows * max(map(len, lines)) + 0.2


@contextmanager
def _figure(file: Path, across: int, down: int, **options: Any) -> Iterator[tuple[Figure, Any]]:
    """A figure and its axes (down, across), which is written when it is done."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(layout="constrained")
        yield figure, figure.subplots(down, across, squeeze=False, **options)
        figure.savefig(file, dpi=DPI, facecolor="white")


def _draw_runs(scores: Scores, names: Mapping[str, str], file: Path) -> Drawing:
    """Small marks for the runs of every model, and their mean."""
    means = scores.run_means().xs(MEAN, level="label")
    with _figure(file, len(METRICS), 1, sharey=True) as (figure, grid):
        for axis, metric in zip(grid[0], METRICS, strict=True):
            for place, model in enumerate(scores.models):
                colour, marker, _ = style_of(place)
                values = (means.loc[model, metric.key] * metric.factor).to_numpy()
                apart = place + (np.linspace(-0.12, 0.12, len(values)) if len(values) > 1 else np.zeros(1))
                axis.plot(values, apart, color=colour, marker=marker, ls="none", ms=5, alpha=0.75)
                axis.plot(values.mean(), place, color="black", marker="|", ms=16, mew=1.8, zorder=5)
            axis.set_xlabel(heading(metric, scores))
            axis.margins(x=0.12)
            axis.set_yticks(range(len(scores.models)), [wrapped(names[model], 28) for model in scores.models])
            axis.set_ylim(len(scores.models) - 0.5, -0.5)
            axis.tick_params(axis="y", length=0)
            axis.xaxis.get_major_locator().set_params(nbins=5)
        handles = [
            Line2D([], [], color="#606060", marker="o", ls="none", ms=5, label="a run (seed): mean over all its cases"),
            Line2D([], [], color="black", marker="|", ls="none", ms=12, mew=1.8, label="mean of a model's runs"),
        ]
        height = 0.7 + max(0.45 * len(scores.models), 0.9)
        figure.set_size_inches(PAGE, height + legend(figure, handles, PAGE))
    text = "Every run's mean over all cases (of the labels' means), and the mean of a model's runs. What two models "
    text += "differ by has to be seen against how far the runs of one lie apart."
    return Drawing(file, text)


def _draw_pairs(scores: Scores, names: Mapping[str, str], file: Path, all_pairs: bool) -> Drawing:
    """Every case's Dice with two models, joined by a line."""
    dice = scores.by_case["dice"]
    columns = {f"{MEAN} of labels": scores.case_runs("dice")} if len(scores.labels) > 1 else {}
    if len(scores.labels) <= PANELS:
        columns |= {label: scores.case_runs("dice", label) for label in scores.labels}
    panels = [(*pair, label) for pair in pairs(scores.models, all_pairs=all_pairs) for label in columns]
    across = min(len(panels), len(columns) if len(columns) > 1 else PANELS + 1)
    down = math.ceil(len(panels) / across)
    with _figure(file, across, down, sharey="row") as (figure, grid):
        for axis, (a, b, label) in zip(grid.flat, panels, strict=False):
            runs = [columns[label][model].to_numpy().T for model in (a, b)]
            values = rightly_empty_is_perfect(METRICS[0], np.concatenate(runs)) * METRICS[0].factor
            both = values[: len(runs[0])], values[len(runs[0]) :]
            _draw_pair(axis, both, [wrapped(names[model]) for model in (a, b)])
            axis.set_title(wrapped(label, 36))
        for axis in list(grid.flat)[len(panels) :]:
            axis.set_axis_off()
        for axis in grid.flat:
            axis.set_ylabel("")
        for axis in grid[:, 0]:
            axis.set_ylabel(heading(METRICS[0], scores))
        handles = [
            Line2D([], [], color=colour, ls=line, marker=marker, ms=4, label=text)
            for text, (colour, line, marker) in {**OUTCOMES, MEAN: ("black", "-", "D")}.items()
        ]
        handles += [Line2D([], [], label="a run's mean", **RUN)] if scores.several_runs else []
        width = 1.2 + 2.5 * across
        figure.set_size_inches(width, 0.2 + 2.9 * down + legend(figure, handles, width))
    text = "Dice of every case with both models; a line is a case, black the mean."
    if scores.several_runs:
        text += " A case's Dice is its mean over runs; small open marks beside the mean are the runs'."
    if dice.isna().any():
        text += " A model that rightly predicts nothing where the other predicts something is drawn at 100."
    return Drawing(file, text)


def _draw_pair(axis: Any, both: Sequence[NDArray[np.float64]], names: Sequence[str]) -> None:
    """Lines from one model's scores to the other's, each (runs, cases); the means of several runs as small marks."""
    values = np.stack([scores.mean(0) for scores in both])
    known = ~np.isnan(values).any(0)
    values = values[:, known]
    change = np.where(np.abs(values[1] - values[0]) <= 100 * TIE, 0, values[1] - values[0])
    outcomes = np.array(list(OUTCOMES))[[0 if c > 0 else 1 if c < 0 else 2 for c in change]]
    wide = pd.DataFrame({0: values[0], 1: values[1], "outcome": outcomes}).rename_axis("case").reset_index()
    lines = wide.melt(["case", "outcome"], [0, 1], var_name="model", value_name="score")
    lines["model"] = lines["model"].astype(int)
    if len(wide):
        sns.lineplot(
            lines,
            x="model",
            y="score",
            units="case",
            estimator=None,
            hue="outcome",
            style="outcome",
            palette={text: colour for text, (colour, _, _) in OUTCOMES.items()},
            dashes={"right model better": "", "right model worse": (4, 2), "equal": (1, 1.5)},
            markers={text: marker for text, (_, _, marker) in OUTCOMES.items()},
            markersize=4,
            markeredgewidth=0,
            linewidth=1,
            alpha=0.8 if len(wide) <= 40 else 0.35,
            legend=False,
            ax=axis,
        )
        axis.plot([0, 1], values.mean(1), color="black", marker="D", ms=5, lw=2, zorder=5)
        for place, scores in zip((-0.12, 1.12), both, strict=True):
            if len(scores) > 1:
                means = scores[:, known].mean(1)
                axis.plot([place] * len(means), means, **RUN)
    axis.set(xlim=(-0.3, 1.3), xlabel="")
    axis.set_xticks([0, 1], names)
    axis.grid(axis="x", visible=False)


def _draw_labels(scores: Scores, names: Mapping[str, str], folder: Path) -> list[Drawing]:
    """Boxes and points by label and model, labels below each other; many labels are on several figures."""
    each = max(1, BOXES // len(scores.models))
    parts = [scores.labels[start : start + each] for start in range(0, len(scores.labels), each)]
    frame = scores.by_case.reset_index()
    frame[[m.key for m in METRICS]] *= [m.factor for m in METRICS]
    drawings = []
    for number, labels in enumerate(parts, start=1):
        file = folder / ("labels.png" if len(parts) == 1 else f"labels_{number}.png")
        with _figure(file, len(METRICS), 1, sharey=True) as (figure, grid):
            for axis, metric in zip(grid[0], METRICS, strict=True):
                _draw_boxes(axis, frame, metric, scores.models, labels)
                axis.set_xlabel(heading(metric, scores))
                _same_limits(axis, frame[metric.key])
            handles = [
                Line2D([], [], color=style_of(n)[0], marker=style_of(n)[1], ls="none", ms=5, label=names[model])
                for n, model in enumerate(scores.models)
            ]
            height = 0.6 + len(labels) * max(0.17 * len(scores.models) + 0.12, 0.42)
            figure.set_size_inches(PAGE, height + legend(figure, handles, PAGE))
        text = (
            f"{', '.join(m.title for m in METRICS)} of every case by label and model: median, quartiles, whiskers to "
            "the farthest case within 1.5 quartile ranges; the white diamond is the mean."
        )
        text += " A case's scores are its means over runs." * scores.several_runs
        drawings.append(Drawing(file, text if len(parts) == 1 else f"Part {number} of {len(parts)}. {text}"))
    return drawings


def _draw_boxes(axis: Any, frame: pd.DataFrame, metric: Metric, models: Sequence[str], labels: Sequence[str]) -> None:
    frame = frame[frame["label"].isin(labels)]
    places: dict[str, Any] = {"x": metric.key, "y": "label", "order": labels, "hue": "model", "hue_order": models}
    places |= {"palette": [style_of(n)[0] for n in range(len(models))], "legend": False, "ax": axis}
    if frame[metric.key].notna().any():
        sns.boxplot(
            frame,
            **places,
            fill=False,
            showfliers=False,
            linewidth=1.1,
            gap=0.25,
            medianprops={"color": "black", "linewidth": 1.4},
            showmeans=True,
            meanprops={"marker": "D", "ms": 4, "mfc": "white", "mec": "black", "mew": 0.9, "zorder": 6},
        )
        few = len(frame) <= 40 * len(models) * len(labels)
        for n, model in enumerate(models):
            points: dict[str, Any] = {"marker": style_of(n)[1], "size": 3, "alpha": 0.75 if few else 0.35}
            sns.stripplot(frame[frame["model"] == model], **places, **points, dodge=True, jitter=0.15)
    axis.set_ylabel("")
    axis.set_yticks(range(len(labels)), [wrapped(label, 28) for label in labels])
    axis.set_ylim(len(labels) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
    axis.tick_params(axis="y", length=0)


def _same_limits(axis: Any, scores: pd.Series) -> None:
    """One scale for all labels, on whatever figure they are."""
    low, high = scores.min(), scores.max()
    if np.isfinite(low):
        margin = 0.04 * (high - low) or 1.0
        axis.set_xlim(low - margin, high + margin)


def draw_training(logs: Mapping[str, Sequence[TrainingLog]], names: Mapping[str, str], file: Path) -> Drawing | None:
    """Losses and pseudo Dice by epoch, thin for trainings and bold for their mean; None if no log has an epoch."""
    frame = _epochs(logs)
    if frame.empty:
        return None
    style = {model: style_of(n) for n, model in enumerate(logs)}
    curves: dict[str, Any] = {"x": "epoch", "hue": "model", "palette": {model: s[0] for model, s in style.items()}}
    titles = {"train_loss": "Training loss", "val_loss": "Validation loss", "pseudo_dice": "Pseudo Dice (%)"}
    with _figure(file, len(titles), 1) as (figure, grid):
        for axis, (column, title) in zip(grid[0], titles.items(), strict=True):
            _draw_curves(axis, frame.dropna(subset=column), column, style, curves)
            axis.set(title=title, xlabel="Epoch", ylabel="")
            axis.xaxis.get_major_locator().set_params(integer=True)
        handles = [
            Line2D([], [], color=colour, marker=marker, ls=line, ms=4.5, lw=1.8, label=names[model])
            for model, (colour, marker, line) in style.items()
        ]
        figure.set_size_inches(PAGE, 3.1 + legend(figure, handles, PAGE))
    return Drawing(
        file,
        "Training curves by epoch, thin for each training (fold and run) and bold for their mean. Losses of different "
        "networks and "
        "deep-supervision scales are not comparable in size; pseudo Dice is that of validation patches.",
    )


def _draw_curves(axis: Any, frame: pd.DataFrame, column: str, style: Mapping[str, Any], curves: Any) -> None:
    """Thin lines of the trainings, and their mean."""
    for model, (_, marker, line) in style.items():
        mine = frame[frame["model"] == model]
        if mine.empty:
            continue
        few = mine["epoch"].nunique() <= 20
        options = curves | {"y": column, "ax": axis, "legend": False, "linestyle": line}
        sns.lineplot(mine, units="training", estimator=None, linewidth=0.7, alpha=0.5, **options)
        sns.lineplot(
            mine, errorbar=None, linewidth=1.8, marker=marker if few else None, ms=4.5, markeredgewidth=0, **options
        )


def _epochs(logs: Mapping[str, Sequence[TrainingLog]]) -> pd.DataFrame:
    """Model, training, epoch, losses and pseudo Dice in %, of all logs."""
    rows = [
        (model, training, number, epoch.train_loss, epoch.val_loss, _mean_percent(epoch.pseudo_dice))
        for model, trainings in logs.items()
        for training, log in enumerate(trainings)
        for number, epoch in log.epochs.items()
    ]
    numbers = ["train_loss", "val_loss", "pseudo_dice"]
    return pd.DataFrame(rows, columns=["model", "training", "epoch", *numbers]).astype(dict.fromkeys(numbers, float))


def _mean_percent(dice: Sequence[float]) -> float:
    known = [value for value in dice if not math.isnan(value)]
    return 100 * sum(known) / len(known) if known else math.nan

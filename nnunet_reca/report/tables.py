"""The tables of a report, in the layout of segmentation papers: a model a row, mean scores first, then each label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from nnunet_reca.report.cost import Cost
from nnunet_reca.report.metrics import METRICS, Metric
from nnunet_reca.report.naming import UNKNOWN, large, number, p_value
from nnunet_reca.report.resampling import FEWEST
from nnunet_reca.report.runs import seed_name
from nnunet_reca.report.scores import MEAN, POOLED, Scores
from nnunet_reca.report.statistics import LEVEL, Paired, with_cases

#: more labels than this become rows
WIDEST = 7


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        key: short name, for references.
        title: caption.
        frame: cells; the columns are the headings.
        text_columns: leading columns that hold names, not numbers.
        best: (row, column) of cells in bold.
        notes: sentences below the table.
    """

    key: str
    title: str
    frame: pd.DataFrame
    text_columns: int = 1
    best: frozenset[tuple[int, int]] = field(default_factory=frozenset)
    notes: tuple[str, ...] = ()


def transposed(table: Table, corner: str) -> Table:
    """Rows and columns exchanged, of a table with one text column; ``corner`` heads the names."""
    cells = table.frame.to_numpy().T
    rows = [[name, *values] for name, values in zip(table.frame.columns[1:], cells[1:], strict=True)]
    turned = pd.DataFrame(rows, columns=[corner, *cells[0]])
    return replace(table, frame=turned, best=frozenset((column - 1, row + 1) for row, column in table.best))


def heading(metric: Metric, scores: Scores) -> str:
    """Title, unit and direction of a metric."""
    return f"{metric.title} ({metric.unit(scores.unit)}) {'↑' if metric.higher_is_better else '↓'}"


def score_table(scores: Scores, names: Mapping[str, str]) -> Table:
    """Pooled over all cases: the three metrics' means, then the Dice of every label; ± the spread between runs."""
    pooled = scores.label_means().unstack("label").loc[list(scores.models)]
    spreads = scores.run_spread().unstack("label").loc[list(scores.models)]
    columns = [(heading(metric, scores), metric, (metric.key, MEAN)) for metric in METRICS]
    if len(scores.labels) > 1:
        columns += [(label, METRICS[0], ("dice", label)) for label in scores.labels]
    wide = len(scores.labels) > WIDEST
    cells = [[names[model] for model in scores.models]]
    cells += [[str(len(scores.runs[model])) for model in scores.models]] * scores.several_runs
    cells += [
        [
            spread_over_runs(mean * metric.factor, deviation * metric.factor, metric.digits)
            for mean, deviation in zip(pooled[key], spreads[key], strict=True)
        ]
        for _, metric, key in columns
    ]
    headings = ["Model", *["Runs"] * scores.several_runs, *(title for title, _, _ in columns)]
    table = Table(
        "scores",
        f"Scores over all {len(scores.cases)} cases: mean of the labels' means, then Dice (%) of each label"
        + "; ± standard deviation over runs" * scores.several_runs,
        pd.DataFrame(zip(*cells, strict=True), columns=headings),
        best=_best([(metric, pooled[key].to_numpy()) for _, metric, key in columns], 1 + scores.several_runs),
        notes=(
            f"Bold: best of a {'row' if wide else 'column'}, whether or not the difference is more than chance. The "
            "mean is that of the labels' means, as in nnU-Net, labels without any score left out.",
            *convention_notes(scores, names),
        ),
    )
    return transposed(table, "") if wide else table


def spread_over_runs(mean: float, deviation: float, digits: int) -> str:
    """A mean over runs, and their standard deviation where there are several."""
    shown = number(mean, digits)
    return shown if np.isnan(deviation) else f"{shown} ± {number(deviation, digits)}"


def run_tables(scores: Scores, names: Mapping[str, str]) -> list[Table]:
    """Scores of every run; none where no model has several."""
    if not scores.several_runs:
        return []
    means = scores.run_means()
    columns = [(heading(metric, scores), metric, MEAN) for metric in METRICS]
    if 1 < len(scores.labels) <= WIDEST:
        columns += [(label, METRICS[0], label) for label in scores.labels]
    rows = [
        [
            names[model],
            seed_name(run),
            *(number(means.loc[(model, run, label), m.key] * m.factor, m.digits) for _, m, label in columns),
        ]
        for model in scores.models
        for run in scores.runs[model]
    ]
    title = f"Every run over all {len(scores.cases)} cases: mean of the labels' means"
    title += ", then Dice (%) of each label" * (len(columns) > len(METRICS))
    return [
        Table(
            "runs",
            title,
            pd.DataFrame(rows, columns=["Model", "Run", *(name for name, _, _ in columns)]),
            text_columns=2,
            notes=("A run is all folds' trainings with one seed.",),
        )
    ]


def _best(columns: Sequence[tuple[Metric, np.ndarray]], first: int) -> frozenset[tuple[int, int]]:
    """Cells that are best of their column as it is shown, counted from ``first``; none where all are equal."""
    cells: set[tuple[int, int]] = set()
    for column, (metric, values) in enumerate(columns, start=first):
        shown = np.round(values * metric.factor, metric.digits)
        if np.isnan(shown).all() or np.nanmin(shown) == np.nanmax(shown):
            continue
        best = np.nanmax(shown) if metric.higher_is_better else np.nanmin(shown)
        cells |= {(int(row), column) for row in np.flatnonzero(shown == best)}
    return frozenset(cells)


def convention_notes(scores: Scores, names: Mapping[str, str]) -> tuple[str, ...]:
    """What happened to empty predictions and references, counted."""
    notes = []
    both = int(scores.frame["dice"].isna().sum())
    if both:
        notes.append(f"{both} scores are left out, prediction and reference are both empty there.")
    if scores.frame["one_empty"].any():
        counts = scores.frame.groupby("model", observed=True)["one_empty"].sum()
        notes.append(
            "Where only one of prediction and reference is empty, Dice and NSD are 0 and HD95 is the diagonal of the "
            f"image: {', '.join(f'{names[model]} {int(counts[model])}' for model in scores.models)} times."
        )
    return tuple(notes)


def fold_tables(scores: Scores, names: Mapping[str, str]) -> list[Table]:
    """For every metric the means of each fold, mean ± SD over folds, and mean ± SD over all cases."""
    means = {fold: scores.label_means(fold) for fold in (*scores.folds, POOLED)}
    return [_fold_table(metric, scores, names, means) for metric in METRICS]


def _fold_table(metric: Metric, scores: Scores, names: Mapping[str, str], means: Mapping[str, pd.DataFrame]) -> Table:
    labels = [MEAN, *scores.labels] if len(scores.labels) > 1 else scores.labels
    values = {label: scores.case_means(metric.key, label) for label in labels}
    rows = []
    for label, cases in values.items():
        for model in scores.models:
            per_fold = [means[fold].loc[(model, label), metric.key] * metric.factor for fold in scores.folds]
            of_cases = cases[model].dropna() * metric.factor
            pooled = means[POOLED].loc[(model, label), metric.key] * metric.factor
            rows.append(
                [
                    label,
                    names[model],
                    *(number(value, metric.digits) for value in per_fold),
                    spread(per_fold, metric.digits),
                    spread(of_cases, metric.digits, mean=pooled),
                    str(len(of_cases)),
                ]
            )
    sizes = scores.frame.groupby("fold", observed=True)["case"].nunique()
    columns = ["Label", "Model", *(f"Fold {f}" for f in scores.folds), "Folds, mean ± SD", "Cases, mean ± SD", "Cases"]
    return Table(
        f"folds-{metric.key}",
        f"{heading(metric, scores)} per fold and pooled over all cases",
        pd.DataFrame(rows, columns=columns),
        text_columns=2,
        notes=(
            "SD: over folds, and over cases (n − 1; where labels are averaged, of each case's mean). "
            + "All of the means over runs. " * scores.several_runs
            + f"Cases of each fold: {', '.join(f'fold {fold}: {sizes[fold]}' for fold in scores.folds)}.",
        ),
    )


def spread(values: Sequence[float] | pd.Series, digits: int, mean: float | None = None) -> str:
    """Mean ± sample standard deviation of what is not NaN."""
    kept = pd.Series(values, dtype=float).dropna()
    if kept.empty:
        return UNKNOWN
    return f"{number(kept.mean() if mean is None else mean, digits)} ± {number(kept.std(), digits)}"


def difference_tables(paired: Sequence[Paired], scores: Scores, names: Mapping[str, str]) -> list[Table]:
    """For every metric the paired statistics of each label and pair."""
    return [_difference_table(m, [p for p in paired if p.metric is m], scores, names) for m in METRICS]


def _difference_table(metric: Metric, paired: Sequence[Paired], scores: Scores, names: Mapping[str, str]) -> Table:
    several = len({p.reference for p in paired}) > 1
    rows = []
    for p in paired:
        low, high = (number(value * metric.factor, metric.digits, signed=True) for value in p.interval)
        rows.append(
            [
                p.label,
                f"{names[p.other]} − {names[p.reference]}" if several else names[p.other],
                number(p.difference * metric.factor, metric.digits, signed=True),
                UNKNOWN if low == UNKNOWN else f"{low} to {high}",
                p_value(p.p),
                p_value(p.p_holm),
                f"{p.wins} / {p.ties} / {p.losses}",
                *[_against_runs(p)] * scores.several_runs,
                str(p.cases),
            ]
        )
    reference = "" if several else f" from {names[paired[0].reference]}"
    columns = ["Label", "Model", "Mean", "95 % interval", "p", "p (Holm)", "Wins / ties / losses"]
    columns += [*["By spread of runs"] * scores.several_runs, "Cases"]
    return Table(
        f"differences-{metric.key}",
        f"{metric.title}: difference{reference} on the same cases ({metric.difference_unit(scores.unit)})",
        pd.DataFrame(rows, columns=columns),
        text_columns=2,
        notes=difference_notes(metric, paired),
    )


def _against_runs(paired: Paired) -> str:
    """Size of a difference by the spread between runs."""
    spread = paired.run_spread
    return number(abs(paired.difference) / spread, 1) if spread > 0 else UNKNOWN


def difference_notes(metric: Metric, paired: Sequence[Paired]) -> tuple[str, ...]:
    """How to read the paired statistics, and what these cases cannot show."""
    tests = with_cases(paired)
    notes = [
        f"Positive is {'better' if metric.higher_is_better else 'worse'}. Wins: cases in which the model is better "
        f"than the reference. Holm's correction is over the {len(tests)} tests of this table."
    ]
    if any(p.several_runs for p in paired):
        notes.append(
            "Of models with several runs everything is of each case's mean over runs: the interval is over cases and "
            "runs, p over cases alone, for these runs, so that p may be small where other seeds would turn the "
            "difference round. By spread of runs: the difference by the standard deviation between runs of one model."
        )
    if any(p.label == MEAN for p in paired):
        notes.append(
            f"{MEAN.capitalize()}: of each case's mean over its labels with a score; where scores are missing this is "
            "not the difference of the mean of the labels' means."
        )
    right = sum(p.rightly_empty for p in paired if p.label != MEAN)
    if right:
        only = "not every run" if any(p.several_runs for p in paired) else "only one of both models"
        notes.append(
            f"{right} times {only} rightly predicts nothing: in this table its {metric.title} counts "
            f"as {metric.perfect * metric.factor:g} there."
        )
    too_few = sum(p.too_few for p in tests)
    if too_few:
        notes.append(
            f"{too_few} of the tests rest on fewer than {FEWEST} cases that differ, and cannot reach p < {LEVEL} "
            "whatever the scores."
        )
    if any(p.cases < FEWEST for p in tests):
        notes.append(f"Fewer than {FEWEST} cases have no interval: the bootstrap's would be too narrow.")
    if tests and tests[0].p_least >= LEVEL:
        notes.append(
            f"With so few cases and {len(tests)} tests the smallest corrected p that is possible is "
            f"{p_value(tests[0].p_least)}."
        )
    return tuple(notes)


#: under a cost table that has estimates
ESTIMATED_MEMORY = (
    "Estimated: what one training step allocates on CUDA, where no log has a peak. Recorded peaks are what PyTorch "
    "reserved on the GPU, or what the whole process held on a CPU, so that the two do not compare."
)


def _memory(cost: Cost) -> str:
    """The recorded peak, else the estimate, marked as one."""
    if cost.peak_memory is not None:
        return number(cost.peak_memory, 2)
    return "not recorded" if cost.estimated_memory is None else f"{number(cost.estimated_memory, 2)} (estimated)"


def cost_table(costs: Sequence[Cost], scores: Scores, names: Mapping[str, str]) -> Table:
    """Cost next to quality."""
    dice = scores.label_means()["dice"].xs(MEAN, level="label") * 100
    spreads = scores.run_spread()["dice"].xs(MEAN, level="label") * 100
    rows = [
        {
            "Model": names[cost.model],
            "Dice (%) ↑": spread_over_runs(dice[cost.model], spreads[cost.model], 2),
            "Parameters (M)": large(cost.parameters, 1e6, 2),
            "GFLOPs per patch": large(cost.flops, 1e9, 1),
            "Patch (voxels)": " × ".join(map(str, cost.patch_size)) or UNKNOWN,
            "Epochs": UNKNOWN if cost.epochs is None else "–".join(map(str, dict.fromkeys(cost.epochs))),
            "s per epoch": UNKNOWN if cost.epoch_seconds is None else number(cost.epoch_seconds, 1),
            "Trainings": str(cost.trainings),
            "Hours in all": UNKNOWN if cost.hours is None else number(cost.hours),
            "Peak memory (GiB)": _memory(cost),
        }
        for cost in costs
    ]
    return Table(
        "cost",
        "Cost next to quality",
        pd.DataFrame(rows),
        notes=(
            "FLOPs: forward pass of one patch, two per multiply-add. Time: median over the epochs in the training "
            "logs of all folds and runs, on whatever machine and beside whatever load it was; epochs of different "
            "trainers may have different numbers of steps. Hours: sum of these epochs over all trainings (folds and "
            "runs). Memory: the largest of any training.",
            *([ESTIMATED_MEMORY] if any(cost.estimated_memory is not None for cost in costs) else []),
            *(f"{names[c.model]}: {note}." for c in costs for note in c.notes),
        ),
    )

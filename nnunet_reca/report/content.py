"""The tables of a report, in the layout of segmentation papers: a model a row, mean scores first, then each label."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nnunet_reca.report.cost import Cost
from nnunet_reca.report.naming import UNKNOWN, large, number, p_value
from nnunet_reca.report.scores import METRICS, Metric, Scores
from nnunet_reca.report.statistics import FEWEST, LEVEL, MEAN, Paired, by_case, nan_mean, with_cases
from nnunet_reca.report.tables import Table, transposed

#: more labels than this become rows
WIDEST = 7


def label_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means (models, 1 + labels) of scores (models, cases, labels), the mean of the labels' means first."""
    means = nan_mean(values, 1)
    return np.concatenate([nan_mean(means, 1)[:, None], means], axis=1)


def pooled_means(scores: Scores, metric: str) -> NDArray[np.float64]:
    """Means (models, 1 + labels) over all cases, each counted once."""
    return label_means(by_case(scores, scores.values[metric]))


def heading(metric: Metric, scores: Scores) -> str:
    """Title, unit and direction of a metric."""
    return f"{metric.title} ({metric.unit(scores.unit)}) {'↑' if metric.higher_is_better else '↓'}"


def score_table(scores: Scores, names: Mapping[str, str]) -> Table:
    """Pooled over all cases: the three metrics' means, then the Dice of every label."""
    pooled = {metric.key: pooled_means(scores, metric.key) for metric in METRICS}
    columns = [(heading(m, scores), m, pooled[m.key][:, 0]) for m in METRICS]
    if len(scores.labels) > 1:
        dice = METRICS[0]
        columns += [(label, dice, pooled["dice"][:, 1 + n]) for n, label in enumerate(scores.labels)]
    rows = tuple(
        (names[model], *(number(values[n] * m.factor, m.digits) for _, m, values in columns))
        for n, model in enumerate(scores.models)
    )
    cases = len({case for _, case in scores.keys})
    table = Table(
        "scores",
        f"Scores over all {cases} cases: mean of the labels' means, then Dice (%) of each label",
        ("Model", *(title for title, _, _ in columns)),
        rows,
        best=_best([(m, values) for _, m, values in columns]),
        notes=(
            "Bold: best of a column, whether or not the difference is more than chance. The mean is that of the "
            "labels' means, as in nnU-Net, labels without any score left out.",
            *convention_notes(scores, names),
        ),
    )
    return transposed(table, "") if len(scores.labels) > WIDEST else table


def _best(columns: Sequence[tuple[Metric, NDArray[np.float64]]]) -> frozenset[tuple[int, int]]:
    """Cells that are best of their column as it is shown; none where all are equal."""
    found = set()
    for column, (metric, values) in enumerate(columns, start=1):
        shown = np.round(values * metric.factor, metric.digits)
        if np.isnan(shown).all() or np.nanmin(shown) == np.nanmax(shown):
            continue
        best = np.nanmax(shown) if metric.higher_is_better else np.nanmin(shown)
        found |= {(int(row), column) for row in np.flatnonzero(shown == best)}
    return frozenset(found)


def convention_notes(scores: Scores, names: Mapping[str, str]) -> tuple[str, ...]:
    """What happened to empty predictions and references, counted."""
    found = []
    both = int(np.isnan(scores.values["dice"]).sum())
    if both:
        found.append(f"{both} scores are left out, prediction and reference are both empty there.")
    if scores.one_empty.any():
        counts = [f"{names[m]} {int(scores.one_empty[n].sum())}" for n, m in enumerate(scores.models)]
        found.append(
            "Where only one of prediction and reference is empty, Dice and NSD are 0 and HD95 is the diagonal of the "
            f"image: {', '.join(counts)} times."
        )
    return tuple(found)


def fold_tables(scores: Scores, names: Mapping[str, str]) -> list[Table]:
    """For every metric the means of each fold, mean ± SD over folds, and mean ± SD over all cases."""
    return [_fold_table(metric, scores, names) for metric in METRICS]


def _fold_table(metric: Metric, scores: Scores, names: Mapping[str, str]) -> Table:
    folds = [label_means(scores.of_fold(metric.key, fold)) for fold in scores.folds]
    per_fold = np.stack(folds) * metric.factor
    values = by_case(scores, scores.values[metric.key]) * metric.factor
    pooled = pooled_means(scores, metric.key) * metric.factor
    labels = [MEAN, *scores.labels] if len(scores.labels) > 1 else list(scores.labels)
    start = int(len(labels) == 1)
    rows = []
    for column, label in enumerate(labels, start=start):
        for n, model in enumerate(scores.models):
            cases = nan_mean(values[n], 1) if column == 0 else values[n, :, column - 1]
            rows.append(
                (
                    label,
                    names[model],
                    *(number(value, metric.digits) for value in per_fold[:, n, column]),
                    spread(per_fold[:, n, column], metric.digits),
                    spread(cases, metric.digits, mean=pooled[n, column]),
                    str(int((~np.isnan(cases)).sum())),
                )
            )
    counts = ", ".join(f"fold {fold}: {sum(f == fold for f, _ in scores.keys)}" for fold in scores.folds)
    return Table(
        f"folds-{metric.key}",
        f"{heading(metric, scores)} per fold and pooled over all cases",
        ("Label", "Model", *(f"Fold {f}" for f in scores.folds), "Folds, mean ± SD", "Cases, mean ± SD", "Cases"),
        tuple(rows),
        text_columns=2,
        notes=(
            "SD: over folds, and over cases (n − 1; where labels are averaged, of each case's mean). "
            f"Cases of each fold: {counts}.",
        ),
    )


def spread(values: NDArray[np.float64], digits: int, mean: float | None = None) -> str:
    """Mean ± sample standard deviation of what is not NaN."""
    kept = values[~np.isnan(values)]
    if not len(kept):
        return UNKNOWN
    deviation = number(float(kept.std(ddof=1)), digits) if len(kept) > 1 else UNKNOWN
    return f"{number(float(kept.mean()) if mean is None else mean, digits)} ± {deviation}"


def difference_tables(paired: Sequence[Paired], scores: Scores, names: Mapping[str, str]) -> list[Table]:
    """For every metric the paired statistics of each label and pair."""
    return [_difference_table(m, [p for p in paired if p.metric is m], scores, names) for m in METRICS]


def _difference_table(metric: Metric, paired: Sequence[Paired], scores: Scores, names: Mapping[str, str]) -> Table:
    several = len({p.reference for p in paired}) > 1
    rows = []
    for p in paired:
        low, high = (number(value * metric.factor, metric.digits, signed=True) for value in p.interval)
        rows.append(
            (
                p.label,
                f"{names[p.other]} − {names[p.reference]}" if several else names[p.other],
                number(p.difference * metric.factor, metric.digits, signed=True),
                UNKNOWN if low == UNKNOWN else f"{low} to {high}",
                p_value(p.p),
                p_value(p.p_holm),
                f"{p.wins} / {p.ties} / {p.losses}",
                str(p.cases),
            )
        )
    reference = "" if several else f" from {names[paired[0].reference]}"
    return Table(
        f"differences-{metric.key}",
        f"{metric.title}: difference{reference} on the same cases ({metric.difference_unit(scores.unit)})",
        ("Label", "Model", "Mean", "95 % interval", "p", "p (Holm)", "Wins / ties / losses", "Cases"),
        tuple(rows),
        text_columns=2,
        notes=difference_notes(metric, paired),
    )


def difference_notes(metric: Metric, paired: Sequence[Paired]) -> tuple[str, ...]:
    """How to read the paired statistics, and what these cases cannot show."""
    tests = with_cases(paired)
    found = [
        f"Positive is {'better' if metric.higher_is_better else 'worse'}. Wins: cases in which the model is better "
        f"than the reference. Holm's correction is over the {len(tests)} tests of this table."
    ]
    if any(p.label == MEAN for p in paired):
        found.append(
            f"{MEAN.capitalize()}: of each case's mean over its labels with a score; where scores are missing this is "
            "not the difference of the mean of the labels' means."
        )
    right = sum(p.rightly_empty for p in paired if p.label != MEAN)
    if right:
        found.append(
            f"{right} times only one of both models rightly predicts nothing: in this table its {metric.title} counts "
            f"as {metric.perfect * metric.factor:g} there."
        )
    too_few = sum(p.too_few for p in tests)
    if too_few:
        found.append(
            f"{too_few} of the tests rest on fewer than {FEWEST} cases that differ, and cannot reach p < {LEVEL} "
            "whatever the scores."
        )
    if any(p.cases < FEWEST for p in tests):
        found.append(f"Fewer than {FEWEST} cases have no interval: the bootstrap's would be too narrow.")
    if tests and tests[0].p_least >= LEVEL:
        found.append(
            f"With so few cases and {len(tests)} tests the smallest corrected p that is possible is "
            f"{p_value(tests[0].p_least)}."
        )
    return tuple(found)


def cost_table(costs: Sequence[Cost], scores: Scores, names: Mapping[str, str]) -> Table:
    """Cost next to quality."""
    dice = pooled_means(scores, "dice")[:, 0] * 100
    rows = tuple(
        (
            names[cost.model],
            number(float(dice[n])),
            large(cost.parameters, 1e6, 2),
            large(cost.flops, 1e9, 1),
            " × ".join(map(str, cost.patch_size)) or UNKNOWN,
            UNKNOWN if cost.epochs is None else "–".join(map(str, dict.fromkeys(cost.epochs))),
            UNKNOWN if cost.epoch_seconds is None else number(cost.epoch_seconds, 1),
            "not recorded" if cost.peak_memory is None else number(cost.peak_memory, 2),
        )
        for n, cost in enumerate(costs)
    )
    notes = [f"{names[c.model]}: {note}." for c in costs for note in c.notes]
    return Table(
        "cost",
        "Cost next to quality",
        (
            "Model",
            "Dice (%) ↑",
            "Parameters (M)",
            "GFLOPs per patch",
            "Patch (voxels)",
            "Epochs",
            "s per epoch",
            "Peak memory (GiB)",
        ),
        rows,
        notes=(
            "FLOPs: forward pass of one patch, two per multiply-add. Time: median over the epochs in the training "
            "logs, on whatever machine and beside whatever load it was; epochs of different trainers may have "
            "different numbers of steps.",
            *notes,
        ),
    )

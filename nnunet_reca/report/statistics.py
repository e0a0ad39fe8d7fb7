"""Paired statistics over cases: mean difference with a bootstrap interval, Wilcoxon's test, Holm's correction.

A difference is the other model's score minus the reference model's on the same case. The interval is the percentile
bootstrap's, 10 000 resamples of the cases with a fixed seed. Cases whose difference is 0 are ties and left out of the
test, as Wilcoxon did; with up to 13 others its p value is exact. A case that several folds validate counts once, with
the mean of its scores.

Where only one of both models has no score, it rightly predicts nothing where the other predicts something: in the
pairing, and only there, it has the perfect score. Where neither has a score, the case is left out.
"""

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from nnunet_reca.report.metrics import METRICS, Metric
from nnunet_reca.report.scores import MEAN, Scores

RESAMPLES = 10_000
SEED = 0
#: smaller differences are rounding
TIE = 1e-9
#: of significance, where words are chosen by it
LEVEL = 0.05
#: fewest differences other than 0 with which the two-sided test can reach p < 0.05: 2 / 2^6
FEWEST = 6
#: most of them for which every sign is tried
EXACT = 13


@dataclass(frozen=True)
class Paired:
    """Comparison of two models by one metric and label, or by the mean over labels.

    Attributes:
        metric, label, reference, other: what is compared.
        cases: with a score of either.
        rightly_empty: cases among them in which one model rightly predicts nothing, and counts as perfect.
        difference: mean of other - reference, in the metric's unit; NaN without cases.
        interval: 95 % of the bootstrap's; NaN with fewer than ``FEWEST`` cases.
        p: of the test, uncorrected; 1 where all cases are ties, NaN without cases.
        p_holm: corrected over all tests of the metric.
        p_least: smallest corrected p that any of these tests could have, with so many cases and tests.
        wins, ties, losses: cases in which the other model is better, equal, worse.
        ranks: sum of the ranks of differences above 0 less those below, by the sum of all: from -1 to 1.
    """

    metric: Metric
    label: str
    reference: str
    other: str
    cases: int
    difference: float
    interval: tuple[float, float]
    p: float
    wins: int
    ties: int
    losses: int
    rightly_empty: int = 0
    ranks: float = 0.0
    p_holm: float = float("nan")
    p_least: float = 0.0

    @property
    def too_few(self) -> bool:
        """The test cannot reach p < 0.05."""
        return self.wins + self.losses < FEWEST


def pairs(models: Sequence[str], *, all_pairs: bool) -> list[tuple[str, str]]:
    """Models as (reference, other): each against the first, or every pair."""
    return [pair for pair in itertools.combinations(models, 2) if all_pairs or pair[0] == models[0]]


def compare(scores: Scores, *, all_pairs: bool = False) -> list[Paired]:
    """Every pair by every metric, over the mean of the labels and each label."""
    paired: list[Paired] = []
    for metric in METRICS:
        tables = {label: scores.by_case[metric.key].xs(label, level="label") for label in scores.labels}
        columns = {label: table.unstack("model") for label, table in tables.items()}
        if len(columns) > 1:
            columns = {MEAN: scores.case_means(metric.key), **columns}
        family = [
            compare_pair(metric, label, a, b, table[a].to_numpy(), table[b].to_numpy())
            for a, b in pairs(scores.models, all_pairs=all_pairs)
            for label, table in columns.items()
        ]
        corrected = holm([p.p for p in family])
        least = least_p(with_cases(family))
        paired += [replace(p, p_holm=holm_p, p_least=least) for p, holm_p in zip(family, corrected, strict=True)]
    return paired


def difference_frame(paired: Sequence[Paired]) -> pd.DataFrame:
    """A row for every comparison."""
    rows = [
        (p.metric.key, p.label, p.reference, p.other, p.cases, p.difference, *p.interval, p.p, p.p_holm, p.p_least)
        + (p.wins, p.ties, p.losses, p.rightly_empty, p.ranks)
        for p in paired
    ]
    columns = ["metric", "label", "reference", "model", "cases", "difference", "low", "high", "p", "p_holm", "p_least"]
    return pd.DataFrame(rows, columns=[*columns, "wins", "ties", "losses", "rightly_empty", "rank_biserial"])


def with_cases(paired: Sequence[Paired]) -> list[Paired]:
    """Those comparisons that have a case to test."""
    return [p for p in paired if not np.isnan(p.p)]


def least_p(paired: Sequence[Paired]) -> float:
    """Smallest p after the correction that tests with so many differing cases can reach."""
    differing = max((p.wins + p.losses for p in paired), default=0)
    return min(1.0, len(paired) * 2.0 ** (1 - differing)) if paired else 1.0


def rightly_empty_is_perfect(metric: Metric, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores (models, ...) with the best possible one for models that have none where others have one.

    Reference and prediction of such a model are both empty, and the others' predictions are not.
    """
    missing = np.isnan(values)
    return np.where(missing & ~missing.all(axis=0), metric.perfect, values)


def compare_pair(
    metric: Metric, label: str, reference: str, other: str, first: NDArray[np.float64], second: NDArray[np.float64]
) -> Paired:
    """Compare two models' scores (cases); see the module for NaN."""
    rightly_empty = int((np.isnan(first) != np.isnan(second)).sum())
    first, second = rightly_empty_is_perfect(metric, np.stack([first, second]))
    differences = second - first
    differences = differences[~np.isnan(differences)]
    differences[np.abs(differences) <= TIE] = 0.0
    better = differences if metric.higher_is_better else -differences
    return Paired(
        metric,
        label,
        reference,
        other,
        cases=len(differences),
        difference=float(differences.mean()) if len(differences) else float("nan"),
        interval=bootstrap(differences),
        p=signed_rank(differences),
        wins=int((better > 0).sum()),
        ties=int((better == 0).sum()),
        losses=int((better < 0).sum()),
        rightly_empty=rightly_empty,
        ranks=rank_difference(differences),
    )


def bootstrap(differences: NDArray[np.float64]) -> tuple[float, float]:
    """95 % percentile interval of the mean over resampled cases; NaN with fewer than ``FEWEST``.

    With so few the interval is too narrow, with two or three it is that of the smallest and the largest difference.
    """
    if len(differences) < FEWEST:
        return float("nan"), float("nan")
    generator = np.random.default_rng(SEED)
    cases = len(differences)
    parts = [differences[generator.integers(0, cases, (RESAMPLES // 10, cases))].mean(1) for _ in range(10)]
    low, high = np.percentile(np.concatenate(parts), (2.5, 97.5))
    return float(low), float(high)


def signed_rank(differences: NDArray[np.float64]) -> float:
    """Two-sided p value of Wilcoxon's signed-rank test, without the zeros."""
    if not len(differences):
        return float("nan")
    kept = differences[differences != 0]
    if len(kept) < 2:  # one case has two signs, each as likely
        return 1.0
    method = stats.PermutationMethod(n_resamples=2**EXACT) if len(kept) <= EXACT else "auto"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on ties among ranks, for which the normal approximation is corrected
        return min(1.0, float(stats.wilcoxon(kept, method=method).pvalue))


def rank_difference(differences: NDArray[np.float64]) -> float:
    """Rank-biserial correlation, the direction in which Wilcoxon's test sees the differences; 0 where all are 0."""
    kept = differences[differences != 0]
    ranks = stats.rankdata(np.abs(kept))
    return float((ranks * np.sign(kept)).sum() / ranks.sum()) if len(kept) else 0.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction; NaN stays NaN and is not counted."""
    order = sorted((p, position) for position, p in enumerate(p_values) if not np.isnan(p))
    corrected = [float("nan")] * len(p_values)
    largest = 0.0
    for rank, (p, position) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(order) - rank)))
        corrected[position] = largest
    return corrected

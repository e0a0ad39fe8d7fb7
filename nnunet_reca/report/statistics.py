"""Paired statistics over cases: mean difference with a bootstrap interval, Wilcoxon's test, Holm's correction.

A difference is the other model's score minus the reference model's on the same case. The interval is the percentile
bootstrap's, 10 000 resamples of the cases with a fixed seed. Cases whose difference is 0 are ties and left out of the
test, as Wilcoxon did; with up to 13 others its p value is exact. A case that several folds validate counts once, with
the mean of its scores.

Where only one of both models has no score, it rightly predicts nothing where the other predicts something: in the
pairing, and only there, it has the perfect score. Where neither has a score, the case is left out.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from nnunet_reca.report.scores import METRICS, Metric, Scores

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
#: name of the mean over a case's labels
MEAN = "mean"


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


def pairs(count: int, *, all_pairs: bool) -> list[tuple[int, int]]:
    """Positions of (reference, other): each model against the first, or every pair."""
    return [(a, b) for a in range(count if all_pairs else 1) for b in range(a + 1, count)]


def compare(scores: Scores, *, all_pairs: bool = False) -> list[Paired]:
    """Every pair by every metric, over the mean of the labels and each label."""
    found: list[Paired] = []
    for metric in METRICS:
        values = by_case(scores, scores.values[metric.key])
        family = []
        for a, b in pairs(len(scores.models), all_pairs=all_pairs):
            columns = dict(zip(scores.labels, np.moveaxis(values, 2, 0), strict=True))
            if len(columns) > 1:
                columns = {MEAN: nan_mean(values, 2), **columns}
            for label, column in columns.items():
                family.append(compare_pair(metric, label, scores.models[a], scores.models[b], column[a], column[b]))
        corrected = holm([one.p for one in family])
        least = least_p(with_cases(family))
        found += [replace(one, p_holm=p, p_least=least) for one, p in zip(family, corrected, strict=True)]
    return found


def with_cases(paired: Sequence[Paired]) -> list[Paired]:
    """Those comparisons that have a case to test."""
    return [one for one in paired if not np.isnan(one.p)]


def least_p(paired: Sequence[Paired]) -> float:
    """Smallest p after the correction that tests with so many differing cases can reach."""
    differing = max((one.wins + one.losses for one in paired), default=0)
    return min(1.0, len(paired) * 2.0 ** (1 - differing)) if paired else 1.0


def rightly_empty_is_perfect(metric: Metric, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores (models, ...) with the best possible one for models that have none where others have one.

    Reference and prediction of such a model are both empty, and the others' predictions are not.
    """
    missing = np.isnan(values)
    return np.where(missing & ~missing.all(axis=0), metric.perfect, values)


def by_case(scores: Scores, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores (models, distinct cases, labels): the mean over the folds that a case is validated in."""
    cases = [case for _, case in scores.keys]
    distinct = list(dict.fromkeys(cases))
    if len(distinct) == len(cases):
        return values
    return np.stack([nan_mean(values[:, [c == case for c in cases]], 1) for case in distinct], axis=1)


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


def nan_mean(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Mean over what is not NaN; NaN where nothing is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmean(values, axis=axis)

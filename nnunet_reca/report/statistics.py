"""Paired statistics over cases: mean difference with a bootstrap interval, Wilcoxon's test, Holm's correction.

A difference is the other model's score minus the reference model's on the same case, of several runs (seeds) their
means. The interval is the percentile bootstrap's, 10 000 resamples of the cases with a fixed seed; where a model has
several runs it is over cases and runs, see :mod:`nnunet_reca.report.resampling`. Cases whose difference is 0 are ties
and left out of the test, as Wilcoxon did; with up to 13 others its p value is exact. The test is over cases alone, for
these runs: it knows nothing of other seeds. A case that several folds validate counts once, with the mean of its
scores.

Where only one of both models has no score, it rightly predicts nothing where the other predicts something: in the
pairing, and only there, it has the perfect score. Where neither has a score, the case is left out. So it is with runs.
"""

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from nnunet_reca.report.metrics import METRICS, Metric
from nnunet_reca.report.resampling import FEWEST, bootstrap, hierarchical_bootstrap
from nnunet_reca.report.scores import MEAN, Scores

#: smaller differences are rounding
TIE = 1e-9
#: of significance, where words are chosen by it
LEVEL = 0.05
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
        interval: 95 % of the bootstrap's over cases, and over runs where a model has several; NaN with fewer than
            ``FEWEST`` cases.
        p: of the test, uncorrected; 1 where all cases are ties, NaN without cases.
        p_holm: corrected over all tests of the metric.
        p_least: smallest corrected p that any of these tests could have, with so many cases and tests.
        wins, ties, losses: cases in which the other model is better, equal, worse.
        ranks: sum of the ranks of differences above 0 less those below, by the sum of all: from -1 to 1.
        runs: of reference and other.
        run_spreads: standard deviation (n - 1) of the runs' means of each, NaN with one run.
        run_wins, run_losses: pairs of a run of each in which the other's mean is better, worse.
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
    runs: tuple[int, int] = (1, 1)
    run_spreads: tuple[float, float] = (float("nan"), float("nan"))
    run_wins: int = 0
    run_losses: int = 0

    @property
    def several_runs(self) -> bool:
        """A model has more than one, so that the interval is over runs, too."""
        return max(self.runs) > 1

    @property
    def run_spread(self) -> float:
        """Of a run's mean within its model: both models' spreads together, NaN where neither has several runs."""
        known = [(runs - 1, spread) for runs, spread in zip(self.runs, self.run_spreads, strict=True) if runs > 1]
        if not known:
            return float("nan")
        return float(np.sqrt(sum(n * spread**2 for n, spread in known) / sum(n for n, _ in known)))

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
        labels = [MEAN, *scores.labels] if len(scores.labels) > 1 else scores.labels
        tables = {label: scores.case_runs(metric.key, label) for label in labels}
        family = [
            compare_pair(metric, label, a, b, table[a].to_numpy().T, table[b].to_numpy().T)
            for a, b in pairs(scores.models, all_pairs=all_pairs)
            for label, table in tables.items()
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
        + (*p.runs, *p.run_spreads, p.run_wins, p.run_losses)
        for p in paired
    ]
    columns = ["metric", "label", "reference", "model", "cases", "difference", "low", "high", "p", "p_holm", "p_least"]
    columns += ["wins", "ties", "losses", "rightly_empty", "rank_biserial", "reference_runs", "model_runs"]
    columns += ["reference_sd_over_runs", "model_sd_over_runs", "run_wins", "run_losses"]
    return pd.DataFrame(rows, columns=columns)


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
    """Compare two models' scores, (cases) or (runs, cases); see the module for NaN."""
    runs = (len(np.atleast_2d(first)), len(np.atleast_2d(second)))
    both = np.concatenate([np.atleast_2d(first), np.atleast_2d(second)])
    missing = np.isnan(both)
    rightly_empty = int((missing.any(0) & ~missing.all(0)).sum())
    both = rightly_empty_is_perfect(metric, both[:, ~missing.all(0)])
    first, second = both[: runs[0]], both[runs[0] :]
    differences = second.mean(0) - first.mean(0)
    differences[np.abs(differences) <= TIE] = 0.0
    better = differences if metric.higher_is_better else -differences
    one_each = max(runs) == 1
    return Paired(
        metric,
        label,
        reference,
        other,
        cases=len(differences),
        difference=float(differences.mean()) if len(differences) else float("nan"),
        interval=bootstrap(differences) if one_each else hierarchical_bootstrap(first, second),
        p=signed_rank(differences),
        wins=int((better > 0).sum()),
        ties=int((better == 0).sum()),
        losses=int((better < 0).sum()),
        rightly_empty=rightly_empty,
        ranks=rank_difference(differences),
        runs=runs,
        **({} if one_each or not len(differences) else _runs(metric, first, second)),
    )


def _runs(metric: Metric, first: NDArray[np.float64], second: NDArray[np.float64]) -> dict[str, Any]:
    """What :class:`Paired` tells of runs, from scores (runs, cases)."""
    means = [scores.mean(1) for scores in (first, second)]
    better = (means[1][:, None] - means[0]) * (1 if metric.higher_is_better else -1)
    return {
        "run_spreads": tuple(float(m.std(ddof=1)) if len(m) > 1 else float("nan") for m in means),
        "run_wins": int((better > TIE).sum()),
        "run_losses": int((better < -TIE).sum()),
    }


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

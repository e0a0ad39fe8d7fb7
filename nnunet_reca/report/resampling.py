"""Intervals of a mean difference: over cases, and over cases and runs together.

Cases are crossed with runs: every run of both models scores the same cases. Runs are nested in models: another seed of
one model has nothing to do with another seed of the other. The difference D of both models' means then varies by three
parts, as readers and cases do in studies of diagnostic imaging whose readers are nested in the tests (Hillis, A
marginal-mean ANOVA approach for analyzing multireader multicase radiological imaging data, Statistics in Medicine
33:330-360, 2014). With n cases and S runs of each of the models m

- cases: variance of the cases' differences / n. It has the runs' noise within cases in it, divided by n S,
- runs: variance of the runs' means / S, for each model. It has the same noise in it,
- that noise: mean square of what cases and runs leave / (n S), for each model, which is therefore taken off once.

The interval is a hierarchical bootstrap's: a resample draws the cases, the same for all runs of both models, and the
runs' share of D anew. That no bootstrap of crossed data is exact, and that drawing rows and columns counts the noise
several times, is known (McCullagh, Bernoulli 6:285-301, 2000; Owen, The pigeonhole bootstrap, Annals of Applied
Statistics 1:386-411, 2007). Two or three runs are far too few to draw from: their resamples are a handful, with half or
two thirds of their variance. So the runs' share is drawn from the normal distribution with the variance above, cases
are drawn with replacement and their deviations scaled to the variance of the cases without the noise, and each of the
two is widened from the normal to Student's distribution by its own degrees of freedom: n - 1, and Welch's of the runs.
That is as much as to add the squares of both half widths (Zou and Donner, Statistics in Medicine 27:1693-1702, 2008).
One Student's distribution for the sum, with Satterthwaite's degrees of freedom, is narrower but has up to 12 % of false
alarms with two runs. ``benchmarks/seed_simulation.py`` shows what ours has.

With one run of each model there is nothing to learn about runs, and the interval is the percentile bootstrap's over
cases. With one run of one of them, its runs are taken to vary as those of the other.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 10_000
SEED = 0
#: of the intervals, both sides together
OUTSIDE = 0.05
#: fewest differences other than 0 with which the two-sided test can reach p < 0.05: 2 / 2^6
FEWEST = 6


@dataclass(frozen=True)
class Parts:
    """Estimated variances of a mean difference over cases and runs.

    Attributes:
        cases: of the choice of cases, with the noise within cases.
        runs: of the choice of runs of both models, with the same noise.
        whole: of the difference; the noise, which is in both, counts once.
        freedom: Welch's degrees of freedom of ``runs``.
    """

    cases: float
    runs: float
    whole: float
    freedom: float


def bootstrap(differences: NDArray[np.float64]) -> tuple[float, float]:
    """95 % percentile interval of the mean over resampled cases; NaN with fewer than ``FEWEST``.

    With so few the interval is too narrow, with two or three it is that of the smallest and the largest difference.
    """
    if len(differences) < FEWEST:
        return float("nan"), float("nan")
    low, high = np.percentile(_means(differences, np.random.default_rng(SEED)), _PERCENTILES)
    return float(low), float(high)


def hierarchical_bootstrap(first: NDArray[np.float64], second: NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of the mean of ``second - first`` over cases and runs; see the module.

    Args:
        first, second: scores (runs, cases) of the same cases, at least two runs of one of them.

    Returns:
        lower and upper limit; NaN with fewer than ``FEWEST`` cases.
    """
    differences = second.mean(0) - first.mean(0)
    cases = len(differences)
    if cases < FEWEST:
        return float("nan"), float("nan")
    parts = variances(first, second)
    generator = np.random.default_rng(SEED)
    middle = differences.mean()
    drawn = (_means(differences, generator) - middle) * math.sqrt(cases / (cases - 1)) * _wider(cases - 1)
    drawn *= math.sqrt((parts.whole - parts.runs) / parts.cases) if parts.cases else 0.0
    drawn += generator.normal(0, math.sqrt(parts.runs) * _wider(parts.freedom), len(drawn))
    low, high = middle + np.percentile(drawn, _PERCENTILES)
    return float(low), float(high)


def _wider(freedom: float) -> float:
    """Width of Student's interval by that of the normal distribution."""
    return float(stats.t.ppf(1 - OUTSIDE / 2, freedom) / stats.norm.ppf(1 - OUTSIDE / 2))


def variances(first: NDArray[np.float64], second: NDArray[np.float64]) -> Parts:
    """Variances of the mean of ``second - first``, scores (runs, cases) as in :func:`hierarchical_bootstrap`."""
    cases = first.shape[1]
    of_cases = float((second.mean(0) - first.mean(0)).var(ddof=1)) / cases
    of_runs, noise, squares = 0.0, 0.0, 0.0
    for scores, other in ((first, second), (second, first)):
        runs = len(scores)
        if runs == 1:
            continue
        share = 1 / runs + (len(other) == 1)  # the other's only run is taken to vary as these do
        of_run = float(scores.mean(1).var(ddof=1)) * share
        left = scores - scores.mean(0) - scores.mean(1, keepdims=True) + scores.mean()
        noise += float((left**2).sum()) / (runs - 1) / (cases - 1) / cases * share
        of_runs, squares = of_runs + of_run, squares + of_run**2 / (runs - 1)
    whole = max(of_cases + of_runs - noise, of_cases, of_runs)
    return Parts(of_cases, of_runs, whole, of_runs**2 / squares if squares else math.inf)


_PERCENTILES = (100 * OUTSIDE / 2, 100 - 100 * OUTSIDE / 2)


def _means(values: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """Means of resamples, in parts that need little memory."""
    cases = len(values)
    return np.concatenate([values[generator.integers(0, cases, (RESAMPLES // 10, cases))].mean(1) for _ in range(10)])

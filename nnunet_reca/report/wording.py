"""Sentences about differences that do not say more than the cases, and the runs, show."""

import enum
import math
from collections.abc import Mapping, Sequence

from nnunet_reca.report.models import Model
from nnunet_reca.report.naming import number, p_value
from nnunet_reca.report.resampling import FEWEST, RESAMPLES
from nnunet_reca.report.scores import MEAN, Scores
from nnunet_reca.report.statistics import LEVEL, Paired
from nnunet_reca.trainers.seeds import split_seed, takes_seed

#: runs of each model that are advised
RUNS = 3
FOLD_ALL = "Fold all is validated on its own training cases: its scores do not tell about new cases."


def sentence(paired: Paired, unit: str, names: Mapping[str, str]) -> str:
    """One difference in words.

    Args:
        unit: of HD95.
        names: shown names of the models.
    """
    metric, other, reference = paired.metric, names[paired.other], names[paired.reference]
    if not paired.cases:
        return f"{metric.title}: no case has a score of {other} or {reference}."
    on = "on one case" if paired.cases == 1 else f"on these {paired.cases} cases"
    over = ", mean over each case's labels" if paired.label == MEAN else ""
    over += ", mean over runs" if paired.several_runs else ""
    spread = f" {run_statement(paired, unit, other, reference)}" if paired.several_runs else ""
    what, facts = _what(paired, unit, other, reference), _facts(paired)
    return f"{metric.title}{over}: {on}, {what} ({facts}).{spread} {verdict(paired)}"


def _what(paired: Paired, unit: str, other: str, reference: str) -> str:
    """The difference of the means."""
    metric, shown = paired.metric, abs(paired.difference * paired.metric.factor)
    if shown < 10**-metric.digits / 2:
        return f"the mean {metric.title} of {other} and {reference} is equal to {metric.digits} decimals"
    direction = "higher" if paired.difference > 0 else "lower"
    better = (paired.difference > 0) == metric.higher_is_better
    return (
        f"the mean {metric.title} of {other} is {number(shown, metric.digits)} {metric.difference_unit(unit)} "
        f"{direction} ({'better' if better else 'worse'}) than that of {reference}"
    )


def _facts(paired: Paired) -> str:
    """Interval, p value, and the cases won and lost."""
    metric = paired.metric
    low, high = (number(v * metric.factor, metric.digits, signed=True) for v in paired.interval)
    over = " over cases and runs" if paired.several_runs else ""
    interval = "" if math.isnan(paired.interval[0]) else f"95 % interval{over} {low} to {high}, "
    p = f"p = {p_value(paired.p_holm)} after Holm".replace("= <", "< ")
    p += " over cases, for these runs" if paired.several_runs else ""
    return f"{interval}{p}; better in {paired.wins}, worse in {paired.losses}, equal in {paired.ties}"


def run_statement(paired: Paired, unit: str, other: str, reference: str) -> str:
    """How the difference stands to what another seed makes."""
    metric, spread = paired.metric, paired.run_spread * paired.metric.factor
    size = abs(paired.difference * metric.factor)
    pairs = paired.runs[0] * paired.runs[1]
    shown = f"{number(spread, metric.digits)} {metric.difference_unit(unit)}"
    ratio = f"{number(size / spread, 1)} times" if spread > 0 else "without any"
    counts = _counts(paired, other, reference)
    text = f"The difference is {ratio} the spread between runs of one model (SD {shown}; {counts})"
    text += f"; {other} is better in {paired.run_wins} of {pairs} pairs of runs, worse in {paired.run_losses}."
    for name, runs in zip((reference, other), paired.runs, strict=True):
        if runs == 1:
            text += f" The runs of {name}, of which there is one, are taken to spread as the other's."
    return text


def _counts(paired: Paired, other: str, reference: str) -> str:
    first, second = paired.runs
    return f"{first} runs each" if first == second else f"{first} of {reference}, {second} of {other}"


class Status(enum.Enum):
    """What a comparison allows to say; the value is for readers in a hurry."""

    EMPTY = "no case has a score"
    TIES = "all cases are ties"
    TOO_FEW = "too few cases to tell"
    TOO_MANY_TESTS = "too few cases for so many tests"
    NOT_SHOWN = "not shown"
    DISAGREE = "mean and ranks disagree"
    THESE_RUNS = "not shown beyond these runs"
    CASES = "shown over cases; other seeds not known"
    CASES_AND_RUNS = "shown over cases and seeds"

    @property
    def shown(self) -> bool:
        """A difference is."""
        return self in (Status.CASES, Status.CASES_AND_RUNS)


def status(paired: Paired) -> Status:
    """What the test and the interval allow to say."""
    low, high = paired.interval
    if not paired.cases:
        return Status.EMPTY
    if not paired.wins + paired.losses:
        return Status.TIES
    if paired.too_few:
        return Status.TOO_FEW
    if paired.p_least >= LEVEL:
        return Status.TOO_MANY_TESTS
    if paired.p_holm >= LEVEL:
        return Status.NOT_SHOWN
    if paired.several_runs and low <= 0 <= high:
        return Status.THESE_RUNS
    if not _mean_agrees_with_ranks(paired):
        return Status.DISAGREE
    return Status.CASES_AND_RUNS if paired.several_runs else Status.CASES


def verdict(paired: Paired) -> str:
    """What the test and the interval allow to say, as a sentence."""
    return {
        Status.EMPTY: "There is nothing to compare.",
        Status.TIES: "All cases are ties.",
        Status.TOO_FEW: (
            f"With fewer than {FEWEST} cases that differ, no result could reach p < {LEVEL}: this says nothing about "
            "which model is better."
        ),
        Status.TOO_MANY_TESTS: (
            f"With so few cases and so many tests, no result could reach p < {LEVEL} after the correction: p does not "
            "tell whether the models differ."
        ),
        Status.NOT_SHOWN: "These cases do not tell the models apart, which does not show that they are equally good.",
        Status.DISAGREE: (
            f"Mean and ranks disagree (better in {paired.wins} of {paired.cases} cases): look at the cases."
        ),
        Status.THESE_RUNS: (
            "The cases tell these runs apart, but not the models: the interval over cases and runs holds 0, so that "
            "other seeds may turn it round."
        ),
        Status.CASES: (
            "Chance among cases alone is an unlikely explanation; another seed, split or data set may still turn out "
            "otherwise."
        ),
        Status.CASES_AND_RUNS: (
            "Chance among cases and seeds is an unlikely explanation; another split or data set may still turn out "
            "otherwise."
        ),
    }[status(paired)]


def _mean_agrees_with_ranks(paired: Paired) -> bool:
    """The interval is on the mean's side of 0, and so are the ranks, of which p is."""
    low, high = paired.interval
    return (low > 0 and paired.ranks > 0) or (high < 0 and paired.ranks < 0)


def headline_pairs(paired: Sequence[Paired]) -> list[Paired]:
    """The comparisons that the page puts into words: by the mean over labels, or the only label."""
    return [p for p in paired if p.label == MEAN] or list(paired)


def limits(models: Sequence[Model], scores: Scores) -> list[str]:
    """How far the results carry."""
    texts = [
        *_about_chance(scores),
        *seeds_missing([m.name.trainer for m in models], scores),
        _dependence(len(scores.folds)),
        "Settings that were chosen by these validation cases make their scores too good; a test set shows it.",
    ]
    if len({m.name.configuration for m in models}) > 1:
        texts.append("Configurations differ, and with them patch, resolution and context, not only the network.")
    return texts


def _about_chance(scores: Scores) -> list[str]:
    """What intervals and p values are about."""
    count = f"{len(scores.cases)} cases"
    if not scores.several_runs:
        return [f"{count}. Intervals and p values are about the choice of these cases: about nothing else that varies."]
    fewest, most = min(map(len, scores.runs.values())), max(map(len, scores.runs.values()))
    runs = f"{fewest} runs" if fewest == most else f"{fewest} to {most} runs"
    texts = [
        f"{count}, {runs} of a model. Intervals are about the choice of these cases and of these seeds; p values are "
        "about the choice of cases alone, for these runs. Splits and data sets vary, too, and are in neither.",
        "Seeds are taken to be drawn independently for each model, and to be the unit that varies: the folds of a "
        "seed count once, as they may begin with the same weights.",
    ]
    if most < RUNS:
        texts.append(f"With {most} runs the spread between runs is hardly known, and intervals are wide: train more.")
    return texts


def seeds_missing(trainers: Sequence[str], scores: Scores) -> list[str]:
    """What is not known of seeds, and how to know it, where a model has one run.

    Args:
        trainers: names of all runs'.
    """
    if all(len(runs) > 1 for runs in scores.runs.values()):
        return []
    without = [trainer for trainer in dict.fromkeys(trainers) if not (split_seed(trainer)[1] or takes_seed(trainer))]
    some = (
        "One training for each model and fold" if not scores.several_runs else "A model has one training for each fold"
    )
    return [
        f"{some}: how much scores change with the seed is not known from it. Differences "
        "of the size that another seed makes are not differences of the networks."
        + " Seeds are missing: train with _seed0, _seed1 and _seed2 in the trainers' names and compare them all."
        * (len(without) < len(set(trainers)))
        + f" No option for a seed: {', '.join(without)}." * bool(without)
    ]


def _dependence(folds: int) -> str:
    """Why cases are no independent sample."""
    shared = ", and the folds' trainings share most of their cases" if folds > 1 else ""
    return (
        f"Cases of a fold are scored by one network{shared}: scores are not independent, and p values smaller than "
        "they should be."
    )


def methods(scores: Scores) -> list[str]:
    """How the numbers came about."""
    return [
        "Dice: nnU-Net's, from summary.json, checked against the files.",
        "HD95: the larger of both directions' 95th percentiles of the distances between border voxels, in "
        f"{scores.unit} by the image's spacing. NSD: the part of both borders within {scores.tolerance:g} "
        f"{scores.unit} of the other, counted in border voxels, not by area. Both are MONAI's by definition; the edge "
        "of the image counts as border.",
        "Empty: where prediction and reference both are, no score, as nnU-Net. Where one is, Dice and NSD 0, and HD95 "
        "the diagonal of the image. Voxels with the ignore label are background in both.",
        "Means: in the scores, the mean of the labels' means, labels without any score left out; in the differences, "
        "of each case's mean over its labels with a score.",
        "Pairing: where only one of both models has no score, it rightly predicts nothing, and counts as perfect (Dice "
        "and NSD 1, HD95 0) in the differences. Where neither has a score, the case is left out.",
        f"Intervals: percentile bootstrap of the mean difference over cases, {RESAMPLES:,} resamples, fixed seed, "
        f"from {FEWEST} cases on. p: Wilcoxon's signed-rank test, two-sided, ties left out; Holm's correction over "
        "all tests of a metric.",
        *_methods_of_runs(scores),
    ]


def _methods_of_runs(scores: Scores) -> list[str]:
    """What is different with several runs of a model."""
    if not scores.several_runs:
        return []
    return [
        "Runs: models that differ only in _seed<N> are runs of one model. Scores are means over runs, ± their standard "
        "deviation (n − 1). Wilcoxon's test is of each case's mean over runs.",
        "Intervals where a model has several runs: hierarchical bootstrap of cases, the same for all runs, and of each "
        "model's runs, whose share is drawn from a normal distribution as two or three cannot be resampled; both "
        "widened to Student's distribution by their own degrees of freedom. Variances as of readers nested in tests, "
        "crossed with cases (Hillis 2014, doi.org/10.1002/sim.5926). Where one model has one run, its runs are taken "
        "to spread as the other's.",
    ]

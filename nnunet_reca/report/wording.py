"""Sentences about differences that do not say more than the cases show."""

import math
from collections.abc import Mapping, Sequence

from nnunet_reca.report.models import Model
from nnunet_reca.report.naming import number, p_value
from nnunet_reca.report.scores import MEAN, Scores
from nnunet_reca.report.statistics import FEWEST, LEVEL, RESAMPLES, Paired

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
    return f"{metric.title}{over}: {on}, {_what(paired, unit, other, reference)} ({_facts(paired)}). {verdict(paired)}"


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
    interval = "" if math.isnan(paired.interval[0]) else f"95 % interval {low} to {high}, "
    p = f"p = {p_value(paired.p_holm)} after Holm".replace("= <", "< ")
    return f"{interval}{p}; better in {paired.wins}, worse in {paired.losses}, equal in {paired.ties}"


def verdict(paired: Paired) -> str:
    """What the test allows to say."""
    if not paired.wins + paired.losses:
        return "All cases are ties."
    if paired.too_few:
        return (
            f"With fewer than {FEWEST} cases that differ, no result could reach p < {LEVEL}: this says nothing about "
            "which model is better."
        )
    if paired.p_least >= LEVEL:
        return (
            f"With so few cases and so many tests, no result could reach p < {LEVEL} after the correction: p does not "
            "tell whether the models differ."
        )
    if paired.p_holm >= LEVEL:
        return "These cases do not tell the models apart, which does not show that they are equally good."
    if not _mean_agrees_with_ranks(paired):
        return f"Mean and ranks disagree (better in {paired.wins} of {paired.cases} cases): look at the cases."
    return (
        "Chance among cases alone is an unlikely explanation; another seed, split or data set may still turn out "
        "otherwise."
    )


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
        f"{len(scores.cases)} cases. Intervals and p values are about the choice of these cases: about nothing else "
        "that varies.",
        "One training for each model and fold: how much scores change with the seed is not known from it. Differences "
        "of the size that another seed makes are not differences of the networks.",
        _dependence(len(scores.folds)),
        "Settings that were chosen by these validation cases make their scores too good; a test set shows it.",
    ]
    if len({m.name.configuration for m in models}) > 1:
        texts.append("Configurations differ, and with them patch, resolution and context, not only the network.")
    return texts


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
    ]

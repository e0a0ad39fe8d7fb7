import itertools

import numpy as np
import pytest
from results_factory import make_scores
from scipy.stats import rankdata

from nnunet_reca.report.scores import METRICS
from nnunet_reca.report.statistics import (
    MEAN,
    bootstrap,
    compare,
    compare_pair,
    holm,
    pairs,
    signed_rank,
)

DICE, HD95, _ = METRICS


def pair(first, second, metric=DICE):
    return compare_pair(metric, "a", "A", "B", np.array(first, float), np.array(second, float))


@pytest.mark.parametrize(("cases", "p"), [(5, 2 / 2**5), (6, 2 / 2**6), (10, 2 / 2**10)])
def test_all_differences_of_one_sign_have_the_exact_p_of_two_sign_patterns(cases, p):
    assert signed_rank(np.arange(1.0, cases + 1)) == pytest.approx(p)


def test_p_is_exact_with_ties_among_the_differences():
    differences = np.array([1.0, 1.0, -1.0, 2.0, 2.0, 3.0, -3.0, 4.0])
    ranks = rankdata(np.abs(differences))
    sums = np.array([(ranks * np.array(signs)).sum() for signs in itertools.product((0, 1), repeat=8)])
    observed = ranks[differences > 0].sum()
    one_sided = min((sums >= observed - 1e-9).mean(), (sums <= observed + 1e-9).mean())
    assert signed_rank(differences) == pytest.approx(2 * one_sided)


def test_zeros_are_left_out_of_the_test():
    differences = np.arange(1.0, 8.0)
    assert signed_rank(np.concatenate([differences, np.zeros(5)])) == pytest.approx(signed_rank(differences))


def test_equal_scores_are_ties_without_evidence():
    found = pair([0.5, 0.6, 0.7], [0.5, 0.6, 0.7 + 1e-12])
    assert (found.wins, found.ties, found.losses, found.p, found.difference) == (0, 3, 0, 1.0, 0.0)
    assert found.interval == (0, 0)


def test_fewer_than_six_differing_cases_are_said_to_be_too_few():
    base = np.linspace(0.1, 0.9, 8)
    five = pair(base, base + np.array([0.01] * 5 + [0] * 3))
    six = pair(base, base + np.array([0.01] * 6 + [0] * 2))
    assert five.too_few and five.p > 0.05
    assert not six.too_few and six.p < 0.05


def test_a_win_is_a_better_score_whatever_the_metrics_direction():
    assert (pair([1, 2, 3], [2, 3, 2], DICE).wins, pair([1, 2, 3], [2, 3, 2], HD95).wins) == (2, 1)


def test_cases_without_a_score_of_both_are_left_out():
    found = pair([0.5, np.nan, 0.5], [0.75, 0.5, np.nan])
    assert (found.cases, found.difference) == (1, 0.25)
    assert np.isnan(found.interval).all()
    assert np.isnan(pair([np.nan], [1.0]).p)


def test_bootstrap_interval_is_repeatable_and_that_of_the_resampled_mean():
    two = np.array([0.0, 1.0])  # the mean of two draws: 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4
    assert bootstrap(two) == bootstrap(two) == (0, 1)
    assert bootstrap(np.full(7, 0.3)) == pytest.approx((0.3, 0.3))
    many = np.random.default_rng(3).normal(2, 1, 400)
    low, high = bootstrap(many)
    error = 1.96 * many.std() / np.sqrt(400)
    assert (low, high) == pytest.approx((many.mean() - error, many.mean() + error), abs=0.1 * error)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    found = holm([float("nan"), 0.02])
    assert np.isnan(found[0]) and found[1] == 0.02


def test_holm_corrects_over_all_tests_of_a_metric():
    values = np.random.default_rng(0).random((3, 7, 2))
    found = [p for p in compare(make_scores(values)) if p.metric is DICE]
    assert len(found) == 2 * 3  # two others, the mean and two labels
    assert [p.p_holm for p in found] == pytest.approx(holm([p.p for p in found]))


def test_every_model_is_compared_with_the_first_or_every_pair():
    assert pairs(3, all_pairs=False) == [(0, 1), (0, 2)]
    assert pairs(3, all_pairs=True) == [(0, 1), (0, 2), (1, 2)]


def test_mean_over_labels_is_that_of_each_case():
    found = compare(make_scores([[[0.1, 0.3]], [[0.5, np.nan]]]))
    (mean,) = (p for p in found if p.metric is DICE and p.label == MEAN)
    assert mean.difference == pytest.approx(0.5 - 0.2)


def test_a_case_of_two_folds_counts_once_with_its_mean():
    keys = [("0", "same"), ("1", "same"), ("1", "other")]
    found = compare(make_scores([[[0.0], [0.0], [0.0]], [[0.2], [0.4], [0.1]]], keys))
    (dice,) = (p for p in found if p.metric is DICE)
    assert dice.cases == 2 and dice.difference == pytest.approx((0.3 + 0.1) / 2)


def test_smallest_possible_p_is_that_of_the_cases_and_the_tests():
    clear = np.stack([np.full((8, 2), 0.2), np.full((8, 2), 0.2) + np.linspace(0.1, 0.5, 16).reshape(8, 2)])
    found = compare(make_scores(clear))
    assert found[0].p_least == pytest.approx(3 * 2 / 2**8)
    assert [p.p_holm for p in found if p.metric is DICE] == pytest.approx([3 * 2 / 2**8] * 3)

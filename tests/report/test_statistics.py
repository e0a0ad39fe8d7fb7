import itertools

import numpy as np
import pytest
from scipy.stats import rankdata
from support.results_factory import make_scores

from nnunet_reca.report.metrics import METRICS
from nnunet_reca.report.scores import MEAN
from nnunet_reca.report.statistics import (
    bootstrap,
    compare,
    compare_pair,
    holm,
    pairs,
    rank_difference,
    signed_rank,
    with_cases,
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


def test_fewer_than_six_differing_cases_are_said_to_be_too_few():
    base = np.linspace(0.1, 0.9, 8)
    five = pair(base, base + np.array([0.01] * 5 + [0] * 3))
    six = pair(base, base + np.array([0.01] * 6 + [0] * 2))
    assert five.too_few and five.p > 0.05
    assert not six.too_few and six.p < 0.05


def test_a_win_is_a_better_score_whatever_the_metrics_direction():
    assert (pair([1, 2, 3], [2, 3, 2], DICE).wins, pair([1, 2, 3], [2, 3, 2], HD95).wins) == (2, 1)


def test_a_rightly_empty_prediction_counts_as_perfect_where_the_other_predicts_something():
    nan = np.nan
    found = pair([0.5, nan, nan, 0.0], [0.75, 0.0, nan, nan])  # B better, A rightly empty, both, B rightly empty
    assert (found.cases, found.rightly_empty, found.wins, found.losses) == (3, 2, 2, 1)
    assert found.difference == pytest.approx((0.25 - 1 + 1) / 3)
    distance = pair([nan], [40.0], HD95)
    assert (distance.difference, distance.losses, distance.rightly_empty) == (40, 1, 1)


def test_false_positives_where_there_is_nothing_are_losses_and_not_ties():
    first, second = np.full(40, 0.8), np.full(40, 0.8)
    first[20:], second[20:] = np.nan, 0.0
    found = pair(first, second)
    assert (found.wins, found.ties, found.losses, found.rightly_empty) == (0, 20, 20, 20)
    assert found.difference == -0.5 and found.p < 0.001


def test_cases_without_a_score_of_either_are_left_out():
    found = pair([np.nan, 0.5], [np.nan, 0.75])
    assert (found.cases, found.difference, found.rightly_empty) == (1, 0.25, 0)
    assert np.isnan(pair([np.nan], [np.nan]).p)


def test_there_is_no_interval_of_fewer_than_six_cases():
    base = np.linspace(0.1, 0.5, 6)
    assert np.isnan(pair(base[:5], base[:5] + 0.1).interval).all()
    assert pair(base, base + 0.125).interval == pytest.approx((0.125, 0.125))


def test_ranks_have_the_direction_of_the_many_and_the_mean_that_of_the_large():
    assert rank_difference(np.array([1.0, 2.0, -3.0, 0.0])) == 0
    assert rank_difference(np.array([1.0, 2.0, 3.0, -40.0])) == pytest.approx((1 + 2 + 3 - 4) / 10)
    assert rank_difference(np.zeros(3)) == 0


def test_bootstrap_interval_is_repeatable_and_that_of_the_resampled_mean():
    # the sum of six draws is binomial: P(0) = 1/64 < 2.5 % and P(0 or 1) = 7/64 > 2.5 %
    half = np.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    assert bootstrap(half) == bootstrap(half) == pytest.approx((1 / 6, 5 / 6))
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
    assert pairs("ABC", all_pairs=False) == [("A", "B"), ("A", "C")]
    assert pairs("ABC", all_pairs=True) == [("A", "B"), ("A", "C"), ("B", "C")]


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


def test_tests_without_cases_do_not_count_in_the_smallest_possible_p():
    base = np.linspace(0.1, 0.5, 8)
    first = np.stack([base, base, np.full(8, np.nan)], axis=1)  # the third label is nowhere
    found = [p for p in compare(make_scores([first, first + 0.1])) if p.metric is DICE]
    assert len(found) == 4 and len(with_cases(found)) == 3
    assert {p.p_least for p in found} == {3 * 2 / 2**8}
    assert [p.p_holm for p in with_cases(found)] == pytest.approx([3 * 2 / 2**8] * 3)


def test_without_missing_scores_the_difference_is_that_of_the_score_tables_means():
    values = np.random.default_rng(1).random((2, 9, 3))
    scores = make_scores(values)
    (mean,) = (p for p in compare(scores) if p.metric is DICE and p.label == MEAN)
    means = scores.label_means()["dice"]
    assert mean.difference == pytest.approx(means["B", MEAN] - means["A", MEAN])


def test_a_case_in_which_only_one_model_has_a_mean_counts_as_perfect_for_the_other():
    found = compare(make_scores([[[np.nan, np.nan]], [[np.nan, 0.0]]]))
    (mean,) = (p for p in found if p.metric is DICE and p.label == MEAN)
    assert (mean.losses, mean.difference, mean.rightly_empty) == (1, -1, 1)

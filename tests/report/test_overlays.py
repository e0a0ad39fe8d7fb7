import numpy as np
import pytest
from support.results_factory import make_run_scores, make_scores

from nnunet_reca.report.overlays import compared_labels, middle_runs, most_different


def test_a_false_positive_where_the_other_rightly_predicts_nothing_is_drawn():
    scores = make_scores([[[0.9], [np.nan], [np.nan]], [[0.8], [0.0], [np.nan]]])
    assert most_different(scores, 3).index.tolist() == [("0", "case1"), ("0", "case0")]


def test_ignored_voxels_are_background_in_overlays():
    labels = np.array([[0, 1, 2, 3]], dtype=np.uint8)
    ignored = np.array([[False, True, False, True]])
    assert compared_labels(labels, {"a": 1, "b": 2}, ignored).tolist() == [[0, 0, 2, 0]]


@pytest.mark.parametrize("ignored", [None, np.array([[True, False, False]])])
def test_values_above_255_stay_what_they_are(ignored):
    labels = np.array([[1, 300, 255]], dtype=np.uint16)
    found = compared_labels(labels, {"a": 1, "b": 300}, ignored)
    assert found.tolist() == [[int(ignored is None), 300, 0]]
    small = np.array([[0, 1, 44]], dtype=np.uint8)  # 300 is 44 where it wraps
    assert compared_labels(small, {"b": 300}, ignored).tolist() == [[0, 0, 0]]


def test_labels_that_are_not_compared_are_background_in_overlays():
    assert compared_labels(np.array([0, 1, 2, 3]), {"b": 2}, None).tolist() == [0, 0, 2, 0]


def test_values_that_no_compared_region_tells_apart_are_equal_in_overlays():
    labels = np.array([0, 1, 2, 3])
    assert compared_labels(labels, {"whole": (1, 2)}, None).tolist() == [0, 1, 1, 0]
    assert compared_labels(labels, {"whole": (1, 2), "core": (2,)}, None).tolist() == [0, 1, 2, 0]


def test_of_several_runs_the_one_in_the_middle_is_drawn():
    scores = make_run_scores([[[0.5]], [[0.9]], [[0.6]]], [[[0.7]], [[0.3]]])
    assert middle_runs(scores, ("0", "case0")) == {"A": ("2", 0.6, 0.5, 0.9), "B": ("1", 0.3, 0.3, 0.7)}


def test_cases_in_which_means_over_runs_differ_most_are_drawn():
    scores = make_run_scores([[[0.1], [0.5]], [[0.9], [0.5]]], [[[0.5], [0.7]]])
    assert most_different(scores, 2).index.tolist() == [("0", "case1")], "case0 differs between runs only"

import pytest
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunet_reca.results.labels import read_labels, values_of


@pytest.mark.parametrize("two", [2, "2", [2], ["2"], (2,)], ids=repr)
def test_a_label_is_the_same_as_number_as_text_and_in_a_list_of_one(two):
    manager = LabelManager({"background": 0, "spleen": two, "liver": "1"}, None)
    labels = read_labels(manager)
    assert list(labels.regions.items()) == [("liver", 1), ("spleen", 2)] and labels.ignore is None
    assert list(labels.regions.values()) == manager.foreground_labels


@pytest.mark.parametrize("background", [0, "0"])
def test_background_may_be_text_and_is_no_label(background):
    assert dict(read_labels(LabelManager({"background": background, "a": 1}, None)).regions) == {"a": 1}


def test_regions_keep_their_names_their_order_and_lists_of_one():
    manager = LabelManager({"background": 0, "whole": [1, "2"], "core": [2], "edge": 3, "ignore": 4}, [1, 2, 3])
    labels = read_labels(manager)
    assert list(labels.regions.items()) == [("whole", (1, 2)), ("core", (2,)), ("edge", 3)] and labels.ignore == 4


def test_labels_that_are_not_consecutive_keep_their_values():
    assert dict(read_labels(LabelManager({"background": 0, "far": 300, "near": 7}, None)).regions) == {
        "near": 7,
        "far": 300,
    }


def test_two_names_of_one_value_are_one_label_with_the_first_name():
    assert dict(read_labels(LabelManager({"background": 0, "first": 1, "second": [1]}, None)).regions) == {"first": 1}


def test_values_of_a_label_and_of_a_region():
    assert values_of(3) == (3,) and values_of((1, 2)) == (1, 2)

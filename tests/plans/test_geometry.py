import pytest
from plan_factory import HIPPOCAMPUS_3D, make_configuration

from nnunet_reca.plans import Geometry
from nnunet_reca.plans.geometry import window_size


@pytest.mark.parametrize(
    ("side", "window"),
    [(1, 1), (3, 3), (7, 7), (8, 8), (9, 5), (10, 5), (11, 6), (12, 6), (14, 7), (16, 8), (20, 5), (21, 7), (48, 6)],
)
def test_window_pads_least_and_stays_near_seven(side, window):
    assert window_size([side], 7) == [window]


def test_smaller_preferred_windows_have_smaller_candidates():
    assert window_size([5, 6, 8, 10, 7], 4) == [5, 3, 4, 5, 4]


def test_no_window_from_five_to_eight_would_pad_less():
    for side in range(9, 161):
        assert -side % window_size([side], 7)[0] == min(-side % w for w in (5, 6, 7, 8))


def test_map_sizes_follow_the_strides():
    geometry = Geometry.from_configuration(HIPPOCAMPUS_3D)
    assert geometry.map_sizes() == [(40, 56, 40), (20, 28, 20), (10, 14, 10), (5, 7, 5)]
    assert geometry.total_stride == (8, 8, 8)
    assert geometry.cut(2).map_sizes()[-1] == (10, 14, 10)
    assert geometry.cut(5) == geometry


def test_numbers_become_one_value_per_axis():
    configuration = make_configuration([16, 24, 32], [[1, 1, 1], [2, 2, 2]])
    configuration["architecture"]["arch_kwargs"].update(strides=[1, 2], kernel_sizes=[3, 3])
    geometry = Geometry.from_configuration(configuration)
    assert geometry.strides == ((1, 1, 1), (2, 2, 2)) and geometry.kernel_sizes == ((3, 3, 3), (3, 3, 3))


@pytest.mark.parametrize(
    ("patch", "strides", "message"),
    [
        ([100, 64], [[1, 1], [2, 2], [4, 4], [4, 4]], "got 100 on axis 0, which is not divisible by 32; use 96 or 128"),
        ([64, 0], [[1, 1], [2, 2]], "2 or 3 positive sides"),
        ([64], [[1], [2]], "2 or 3 positive sides"),
        ([64, 64], [[2, 2], [2, 2]], "begin with 1"),
        ([64, 64], [[1, 1], [0, 2]], "positive strides"),
        ([64, 64], [[1, 1], [2, 2, 2]], "one value per axis of a 2D patch"),
    ],
)
def test_impossible_plans_name_expected_got_and_fix(patch, strides, message):
    with pytest.raises(ValueError, match=message):
        Geometry.from_configuration(make_configuration(patch, strides))


def test_plan_without_strides_names_the_planners_to_use():
    configuration = make_configuration([64, 64], [[1, 1], [2, 2]])
    del configuration["architecture"]["arch_kwargs"]["strides"]
    with pytest.raises(ValueError, match="nnUNetv2_plan_experiment"):
        Geometry.from_configuration(configuration, name="2d")

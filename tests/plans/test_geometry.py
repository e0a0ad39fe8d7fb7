import copy

import pytest
from support.plan_factory import HIPPOCAMPUS_2D, HIPPOCAMPUS_3D, in_old_format, make_configuration

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
    assert geometry.shallower(2).map_sizes()[-1] == (10, 14, 10)
    assert geometry.shallower(5) == geometry


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


ANISOTROPIC = make_configuration([20, 256, 224], [[1, 1, 1], [1, 2, 2], [1, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2]])
ANISOTROPIC["architecture"]["arch_kwargs"]["kernel_sizes"] = [[1, 3, 3], [1, 3, 3], *[[3, 3, 3]] * 4]


@pytest.mark.parametrize("network", ["PlainConvUNet", "ResidualEncoderUNet"])
@pytest.mark.parametrize(
    "configuration", [HIPPOCAMPUS_2D, HIPPOCAMPUS_3D, ANISOTROPIC], ids=["2d", "3d", "anisotropic"]
)
def test_plans_from_before_architectures_have_the_same_geometry(configuration, network):
    old = in_old_format(configuration, network)
    before = copy.deepcopy(old)
    assert Geometry.from_configuration(old) == Geometry.from_configuration(configuration)
    assert old == before


@pytest.mark.parametrize("arguments", [{}, {"patch_embed_size": [8, 8, 8]}], ids=["named", "primus"])
def test_networks_without_strides_get_those_of_nnunets_planners(arguments):
    """As in plans of fine-tuning, whose networks are only named or have one patch embedding."""
    configuration = make_configuration([160, 160, 160], []) | {"spacing": [1.0, 1.0, 1.0]}
    configuration["architecture"] = {"network_class_name": "PrimusM", "arch_kwargs": arguments}
    assert Geometry.from_configuration(configuration).strides == ((1, 1, 1), *[(2, 2, 2)] * 5)
    thick = configuration | {"patch_size": [20, 256, 224], "spacing": [4.0, 0.8, 0.8]}
    planned = Geometry.from_configuration(thick)
    assert planned.total_stride[0] == 4 and planned.strides[:3] == ((1, 1, 1), (1, 2, 2), (1, 2, 2))
    assert planned.kernel_sizes[0] == (1, 3, 3)
    assert Geometry.from_configuration(configuration | {"spacing": None}).poolings == 5


@pytest.mark.parametrize(
    ("patch_size", "total_stride"), [([160, 160, 88], (32, 32, 8)), ([120, 152, 152], (8, 8, 8)), ([9, 7], (1, 1))]
)
def test_patches_that_planners_would_pad_are_taken_as_they_are(patch_size, total_stride):
    """Plans of Primus and of fine-tuning need multiples of 8 only; an axis is pooled as long as it can be."""
    configuration = make_configuration(patch_size, []) | {"spacing": [1.0] * len(patch_size)}
    configuration["architecture"] = {"network_class_name": "PrimusM", "arch_kwargs": {}}
    geometry = Geometry.from_configuration(configuration)
    assert geometry.patch_size == tuple(patch_size) and geometry.total_stride == total_stride
    assert len(geometry.kernel_sizes) == len(geometry.strides)
    assert geometry.poolings == 0 or max(geometry.strides[-1]) > 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch_size": None}, "expected 2d to have a patch_size"),
        ({"UNet_class_name": "Mine"}, "expected 2d to have an architecture, .* nnUNetv2_plan_experiment"),
        ({"pool_op_kernel_sizes": None}, "expected 2d to have an architecture, .* misses 'pool_op_kernel_sizes'"),
    ],
)
def test_plans_that_nnunet_cannot_read_say_what_is_missing(changes, message):
    configuration = in_old_format(HIPPOCAMPUS_2D) | changes
    with pytest.raises(ValueError, match=message):
        Geometry.from_configuration({k: v for k, v in configuration.items() if v is not None}, name="2d")

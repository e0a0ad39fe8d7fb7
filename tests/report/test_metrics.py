import numpy as np
import pytest
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from nnunetv2.evaluation.evaluate_predictions import compute_metrics

from nnunet_reca.report.metrics import score_case

SHAPE, SPACING = (7, 11, 13), (3.0, 0.5, 1.25)


def mask(*places, shape=SHAPE):
    array = np.zeros(shape, dtype=np.uint8)
    for place in places:
        array[place] = 1
    return array


def score(reference, prediction, spacing=SPACING, regions=None, tolerance=1.0, **options):
    regions = regions or {"a": 1}
    return score_case(reference, prediction, spacing, regions, tolerance=tolerance, **options)["a"]


@pytest.mark.parametrize(("axis", "distance"), [(0, 3 * 3.0), (1, 3 * 0.5), (2, 3 * 1.25)])
def test_distance_of_two_voxels_is_their_step_times_the_spacing_of_that_axis(axis, distance):
    first, second = [2, 2, 2], [2, 2, 2]
    second[axis] += 3
    found = score(mask(tuple(first)), mask(tuple(second)))
    assert found.hd95 == pytest.approx(distance) and found.dice == 0


def test_distance_of_diagonal_voxels_is_euclidean_in_millimetres():
    found = score(mask((1, 1, 1)), mask((2, 5, 5)))
    assert found.hd95 == pytest.approx(np.sqrt(3.0**2 + 2.0**2 + 5.0**2))


def test_parallel_planes_are_their_gap_apart_whatever_their_size():
    found = score(mask(np.s_[1, 2:9, 3:10]), mask(np.s_[3, 2:9, 3:10]))
    assert found.hd95 == pytest.approx(6.0) and found.nsd == 0


def test_hd95_interpolates_between_the_largest_distances_of_the_worse_direction():
    line = np.s_[3, 1:10, 2]  # nine border voxels; with the tenth, 95 % lies 0.55 of the way to its distance
    found = score(mask(line), mask(line, (3, 5, 6)))
    assert found.hd95 == pytest.approx(0.55 * 4 * 1.25)
    assert found.nsd == pytest.approx(18 / 19)


def test_a_border_exactly_at_the_tolerance_counts_as_right():
    reference, prediction = mask(np.s_[1, 2:9, 3:10]), mask(np.s_[2, 2:9, 3:10])
    assert score(reference, prediction, tolerance=3.0).nsd == 1
    assert score(reference, prediction, tolerance=2.99).nsd == 0


def test_only_the_border_of_a_solid_counts():
    reference, prediction = mask(np.s_[1:6, 1:10, 1:12]), mask(np.s_[1:6, 1:10, 1:12])
    prediction[3, 5, 6] = 0  # a hole of one voxel amid the solid: its six neighbours become border
    solid = 5 * 9 * 11 - 3 * 7 * 9
    assert score(reference, prediction, tolerance=0.1).nsd == pytest.approx(2 * solid / (2 * solid + 6))


def test_both_empty_is_no_score():
    found = score(mask(), mask())
    assert np.isnan([found.dice, found.hd95, found.nsd]).all() and not found.one_empty


@pytest.mark.parametrize("swap", [False, True])
def test_one_empty_is_no_overlap_and_the_diagonal_of_the_image(swap):
    pair = (mask(), mask((1, 1, 1)))[:: -1 if swap else 1]
    found = score(*pair)
    assert (found.dice, found.nsd, found.one_empty) == (0, 0, True)
    assert found.hd95 == pytest.approx(np.sqrt((7 * 3.0) ** 2 + (11 * 0.5) ** 2 + (13 * 1.25) ** 2))


def test_equal_masks_are_perfect():
    found = score(mask(np.s_[1:3, 2:5, 2:9]), mask(np.s_[1:3, 2:5, 2:9]))
    assert (found.dice, found.hd95, found.nsd) == (1, 0, 1)


def test_voxels_with_the_ignore_label_count_for_neither_side():
    reference, prediction = mask(np.s_[1:3, 2:5, 2:5]), mask(np.s_[1:3, 2:5, 2:9])
    reference[:, :, 5:] = 2
    found = score(reference, prediction, ignore=2)
    assert (found.dice, found.hd95, found.nsd) == (1, 0, 1)


def test_a_region_is_the_union_of_its_labels():
    reference, prediction = mask(np.s_[1:3, 2:5, 2:5]), mask(np.s_[1:3, 2:5, 2:5])
    prediction[1] *= 3
    assert score(reference, prediction, regions={"a": (1, 3)}).dice == 1
    assert score(reference, prediction, regions={"a": 1}).dice == pytest.approx(2 / 3)


def test_one_slice_is_measured_as_a_2d_image():
    generator = np.random.default_rng(0)
    first, second = (generator.random((1, 11, 13)) > 0.4 for _ in range(2))
    flat = score(first[0].astype(np.uint8), second[0].astype(np.uint8), SPACING[1:])
    assert score(first.astype(np.uint8), second.astype(np.uint8)) == flat
    empty = score(first.astype(np.uint8), np.zeros((1, 11, 13), np.uint8), (999.0, 1.0, 1.0))
    assert empty.hd95 == pytest.approx(np.hypot(11, 13))


@pytest.mark.parametrize("regions", [{"a": 1, "b": 2}, {"a": (1, 2), "b": (2,)}])
def test_dice_is_nnunets_with_regions_and_ignore_label(regions):
    generator = np.random.default_rng(1)
    reference, prediction = generator.integers(0, 4, SHAPE), generator.integers(0, 3, SHAPE)
    files = {"reference": reference, "prediction": prediction}

    class Reader:
        def read_seg(self, name):
            return files[name][None], {}

    theirs = compute_metrics("reference", "prediction", Reader(), list(regions.values()), 3)["metrics"]
    ours = score_case(reference, prediction, SPACING, regions, tolerance=1.0, ignore=3)
    for name, region in regions.items():
        assert ours[name].dice == pytest.approx(theirs[region]["Dice"], abs=1e-12)


def test_shapes_that_differ_are_named():
    with pytest.raises(ValueError, match=r"the reference's shape \(7, 11, 13\).*\(7, 11, 12\)"):
        score(mask(), mask(shape=(7, 11, 12)))


@pytest.mark.parametrize("seed", range(4))
def test_hd95_and_nsd_are_monais(seed):
    generator = np.random.default_rng(seed)
    first, second = (generator.random(SHAPE) > 0.5 + 0.1 * seed for _ in range(2))
    found = score(first.astype(np.uint8), second.astype(np.uint8), tolerance=0.6)
    tensors = [torch.from_numpy(mask)[None, None] for mask in (second, first)]
    options = {"include_background": True, "spacing": list(SPACING)}
    assert found.hd95 == pytest.approx(float(compute_hausdorff_distance(*tensors, percentile=95, **options)))
    assert found.nsd == pytest.approx(float(compute_surface_dice(*tensors, class_thresholds=[0.6], **options)))

import itertools

import pytest
import torch

from nnunet_reca.ops import (
    fit_windows,
    merge_windows,
    pad_to_multiple,
    partition_windows,
    shift_map,
    shifted_window_mask,
)

MAPS = [((6, 15), (2, 5)), ((4, 9, 10), (2, 3, 5))]


@pytest.mark.parametrize(("spatial", "window"), MAPS)
def test_window_merge_inverts_partition(spatial, window):
    x = torch.randn(3, *spatial, 7)
    windows = partition_windows(x, window)
    assert torch.equal(merge_windows(windows, window, spatial), x)


def test_partition_numbers_windows_and_tokens_in_row_major_order():
    x = torch.arange(4 * 6).view(1, 4, 6, 1)
    windows = partition_windows(x, (2, 3)).squeeze(-1)
    assert windows.tolist() == [
        [0, 1, 2, 6, 7, 8],
        [3, 4, 5, 9, 10, 11],
        [12, 13, 14, 18, 19, 20],
        [15, 16, 17, 21, 22, 23],
    ]


def test_windows_of_one_image_are_consecutive():
    x = torch.stack([torch.zeros(4, 6, 1), torch.ones(4, 6, 1)])
    assert partition_windows(x, (2, 3)).mean(dim=(1, 2)).tolist() == [0] * 4 + [1] * 4


def test_padding_adds_zeros_at_the_end_of_each_axis_only():
    x = torch.ones(2, 5, 7, 3, 4)
    padded = pad_to_multiple(x, (3, 7, 2))
    assert padded.shape == (2, 6, 7, 4, 4)
    assert torch.equal(padded[:, :5, :, :3], x)
    assert padded.sum() == x.sum()
    assert pad_to_multiple(x, (5, 7, 3)) is x


def test_shift_is_undone_by_the_negative_shift():
    x = torch.randn(2, 5, 7, 3)
    shifted = shift_map(x, (2, 3))
    assert torch.equal(shifted[:, 0, 0], x[:, 2, 3])
    assert torch.equal(shift_map(shifted, (-2, -3)), x)
    assert shift_map(x, (0, 0)) is x


def test_windows_shrink_to_small_maps_and_lose_the_shift_there():
    assert fit_windows((3, 7, 11), (7, 7, 7), (3, 3, 3)) == ((3, 7, 7), (0, 0, 3))


@pytest.mark.parametrize(
    ("spatial", "window", "shift"),
    [((6, 10), (3, 5), (1, 2)), ((4, 9, 10), (2, 3, 5), (1, 0, 2)), ((8,), (4,), (2,))],
)
def test_mask_allows_exactly_the_tokens_that_were_close_before_the_shift(spatial, window, shift):
    """Reference: roll the coordinates; two tokens may meet unless one of them wrapped around the border."""
    mask = shifted_window_mask(spatial, window, shift)
    coordinates = torch.stack(torch.meshgrid(*(torch.arange(s) for s in spatial), indexing="ij"), dim=-1)
    rolled = partition_windows(shift_map(coordinates[None], shift), window)
    for w, i, j in itertools.product(*(range(n) for n in mask.shape)):
        distance = (rolled[w, i] - rolled[w, j]).abs()
        assert mask[w, i, j] == bool((distance < torch.tensor(window)).all())


def test_no_shift_needs_no_mask():
    assert shifted_window_mask((6, 10), (3, 5), (0, 0)) is None

"""Numbers of the tables, by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nnunet_reca.explain.attention import Attention
from nnunet_reca.explain.case import Case
from nnunet_reca.explain.grid import Grid, Patch
from nnunet_reca.explain.run import _token_size, over_heads
from nnunet_reca.explain.tables import _mean_distance

#: X first, 8 of its voxels sampled as 4; Y sampled at twice the density
GRID = Grid((5, 7, 12), (2, 0, 1), ((2, 10), (0, 5), (0, 7)), (4, 5, 14))


@pytest.mark.parametrize(
    ("patch", "tokens", "sizes"),
    [(Patch((0, 0, 0), (4, 4, 8)), (2, 1, 4), [2, 12, 2]), (Patch((0, 0), (4, 8), 1), (2, 4), [6, 2])],
)
def test_the_size_of_a_token_follows_transpose_crop_and_resampling(patch, tokens, sizes):
    # a voxel of the preprocessed image is 0.5 * 8 / 4 = 1 mm along X, 3 mm along Z and 2 * 7 / 14 = 1 mm along Y
    case = Case("case", np.zeros((1, 5, 7, 12)), {"spacing": (3, 2, 0.5)}, np.zeros((1, 4, 5, 14)), GRID, "mm", False)
    view = SimpleNamespace(alone=SimpleNamespace(visible=torch.ones(tokens)))
    assert _token_size(case, patch, view) == pytest.approx(sizes)


def test_the_mean_distance_is_weighted_and_leaves_padding_out():
    weights = torch.tensor([[0.5, 0], [0, 0.25], [0.25, 0]])  # distances 0, 5 and 8 from the first token
    for share in (1, 0.5):
        assert _mean_distance(weights * share, (0, 0), (4, 3)) == pytest.approx(3.25)


def test_heads_are_averaged_or_their_largest_weight_is_taken():
    weights = torch.tensor([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]])
    seen = Attention(weights, weights[0] > 0, 3)
    assert over_heads(seen, "mean").tolist() == [0.3125, 0.5, 0.1875]
    assert over_heads(seen, "max").tolist() == [0.5, 0.75, 0.25]

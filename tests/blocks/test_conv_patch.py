import pytest
import torch

from nnunet_reca.blocks import ConvExpanding, ConvMerging, ConvPatchEmbed


@pytest.mark.parametrize(
    ("strides", "size", "tokens"),
    [([[2, 2, 2], [1, 2, 2]], (6, 20, 28), (3, 5, 7)), ([[2, 1], [2, 2]], (12, 14), (3, 7))],
)
def test_patch_embedding_makes_one_token_per_patch(strides, size, tokens):
    assert ConvPatchEmbed(2, 6, strides)(torch.randn(3, 2, *size)).shape == (3, *tokens, 6)


def test_merging_and_expanding_follow_the_stride_of_each_axis():
    x = torch.randn(2, 3, 10, 14, 6)
    merged = ConvMerging(6, (1, 2, 2))(x)
    assert merged.shape == (2, 3, 5, 7, 12)
    assert ConvExpanding(12, (1, 2, 2))(merged).shape == x.shape

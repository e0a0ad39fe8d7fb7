import pytest
import torch
from torch import nn

from nnunet_reca.blocks import PatchEmbed, PatchMerging


def test_embedding_reads_each_patch_once_per_axis_stride():
    embed = PatchEmbed(2, 5, (1, 2, 3))
    x = torch.randn(2, 2, 3, 4, 9)
    tokens = embed(x)
    assert tokens.shape == (2, 3, 2, 3, 5)
    patch = x[0, :, 2, 2:4, 6:9].flatten()
    torch.testing.assert_close(tokens[0, 2, 1, 2], embed.proj.weight.flatten(1) @ patch + embed.proj.bias)


@pytest.mark.parametrize("stride", [(2, 2), (1, 2, 2), (2, 2, 2), (3, 1, 2)])
def test_merging_concatenates_every_token_once_in_row_major_order(stride):
    merge = PatchMerging(3, stride)
    merge.norm, merge.reduction = nn.Identity(), nn.Identity()
    spatial = [s * n for s, n in zip(stride, (2, 3, 5), strict=False)]
    x = torch.arange(2 * torch.tensor(spatial).prod() * 3).view(2, *spatial, 3)
    merged = merge(x)
    first = x[(0, *(slice(0, s) for s in stride))].flatten()
    assert torch.equal(merged[(0, *[0] * len(stride))], first)
    assert torch.equal(merged.flatten().sort().values, x.flatten())


def test_merging_doubles_the_channels():
    assert PatchMerging(6, (1, 2, 2))(torch.randn(2, 3, 4, 8, 6)).shape == (2, 3, 2, 4, 12)


def test_published_merging_repeats_two_sublattices_and_drops_two():
    merge = PatchMerging(1, (2, 2, 2), duplicated_sublattices=True)
    merge.norm, merge.reduction = nn.Identity(), nn.Identity()
    x = torch.arange(8).view(1, 2, 2, 2, 1)
    assert merge(x).flatten().tolist() == [0, 4, 2, 1, 5, 2, 1, 7]


def test_published_merging_with_another_stride_raises():
    with pytest.raises(ValueError, match=r"expected stride \(2, 2, 2\).*got \(1, 2, 2\)"):
        PatchMerging(4, (1, 2, 2), duplicated_sublattices=True)

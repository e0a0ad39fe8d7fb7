import pytest
import torch
from torch import nn

from nnunet_reca.blocks import PatchExpand, PatchMerging


@pytest.mark.parametrize("stride", [(4, 4), (1, 2, 2), (2, 2, 2), (3, 1, 2)])
def test_expanding_inverts_merging_without_their_projections(stride):
    merge, expand = PatchMerging(3, stride), PatchExpand(6, 3, stride)
    merge.norm, merge.reduction, expand.norm, expand.expand = (nn.Identity() for _ in range(4))
    spatial = [s * n for s, n in zip(stride, (2, 3, 5), strict=False)]
    x = torch.randn(2, *spatial, 3)
    assert torch.equal(expand(merge(x)), x)


def test_expanding_projects_each_token_to_normalised_tokens():
    expand = PatchExpand(8, 5, (1, 2, 3))
    x = torch.randn(2, 3, 4, 2, 8)
    expanded = expand(x)
    assert expanded.shape == (2, 3, 8, 6, 5)
    window = (expand.expand.weight @ x[1, 2, 1, 0]).view(1, 2, 3, 5)
    torch.testing.assert_close(expanded[1, 2:3, 2:4, 0:3], expand.norm(window))

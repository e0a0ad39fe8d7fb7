import math

import pytest
import torch
from support.network_cases import CASES, build

from nnunet_reca.architectures import SwinUNETR


def test_published_swin_unetr_has_the_published_number_of_parameters():
    strides = [[1] * 3] + [[2] * 3] * 5
    with torch.device("meta"):
        model = SwinUNETR(1, 5, strides=strides, auxiliary_heads=False)
        headed = SwinUNETR(1, 5, strides=strides)
    count = sum(p.numel() for p in model.parameters())
    assert count == 62_186_855
    auxiliary = sum(5 * (width + 1) for width in (48, 96, 192, 384))
    assert sum(p.numel() for p in headed.parameters()) == count + auxiliary


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strides": [[1, 1], [2, 2]]}, "2 to 5 poolings after the leading 1, got 1"),
        ({"strides": [[2, 2], [2, 2], [2, 2]]}, "leading strides of 1"),
        ({"feature_size": 30}, "positive multiple of 12, got 30; use 24 or 36"),
        ({"num_heads": [5]}, "divides the 24 channels, got 5"),
        ({"depths": [2, 2]}, "expected 1 depths for 2 poolings, got 2"),
        ({"deep_supervision": True, "auxiliary_heads": False}, "auxiliary_heads=True"),
    ],
)
def test_wrong_arguments_name_expected_got_and_fix(change, message):
    _, arguments, _ = CASES["swin_unetr_2d_shallow"]
    with pytest.raises(ValueError, match=message):
        SwinUNETR(1, 2, **{**arguments, **change})


def test_anisotropic_total_stride():
    _, arguments, _ = CASES["swin_unetr_anisotropic"]
    model = build(SwinUNETR, arguments)
    assert model.total_stride == tuple(math.prod(s[a] for s in arguments["strides"]) for a in range(3)) == (2, 8, 8)

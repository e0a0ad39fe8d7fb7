import pytest
import torch
from support.network_cases import CASES, build

from nnunet_reca.architectures import SwinUnet


@pytest.mark.parametrize(("depths", "expected"), [([2, 2, 2, 2], 27_168_900), ([2, 2, 6, 2], 41_380_836)])
def test_published_swin_unet_has_the_published_number_of_parameters(depths, expected):
    strides = [[1, 1], [4, 4], [2, 2], [2, 2], [2, 2]]
    with torch.device("meta"):
        model = SwinUnet(3, 9, strides=strides, depths=depths, auxiliary_heads=False)
        headed = SwinUnet(3, 9, strides=strides, depths=depths)
    count = sum(p.numel() for p in model.parameters())
    assert count == expected
    auxiliary = sum(9 * (width + 1) for width in (96, 192, 384))
    assert sum(p.numel() for p in headed.parameters()) == count + auxiliary


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strides": [[1, 1, 1], [2, 4, 4]]}, "at least one merge after the leading 1"),
        ({"strides": [[2, 2, 2]] * 3}, "leading strides of 1"),
        ({"embed_dim": 0}, "embed_dim of at least 1, got 0"),
        ({"num_heads": [2, 5]}, "divides the 12 channels, got 5"),
        ({"depths": [2, 2, 2]}, "expected 2 depths, one per stride after the first, got 3"),
        ({"window_sizes": [3, [2, 3]]}, r"one for each of 3 axes, got \[2, 3\]"),
        ({"window_sizes": [3, 0]}, "window sides of at least 1"),
        ({"deep_supervision": True, "auxiliary_heads": False}, "auxiliary_heads=True"),
        ({"depths": [0, 2]}, "depths of at least 1"),
    ],
)
def test_wrong_swin_unet_arguments_name_expected_got_and_fix(change, message):
    _, arguments, _ = CASES["swin_unet_3d_one_merge"]
    with pytest.raises(ValueError, match=message):
        SwinUnet(1, 2, **{**arguments, **change})


def test_swin_unet_decoder_has_self_attention_in_both_twins():
    network, arguments, size = CASES["swin_unet_3d_one_merge"]
    reca, sa = (build(network, arguments, carry=c).eval() for c in ("sum", "none"))
    features = sa.encoder(torch.randn(1, 2, *size))
    assert torch.equal(reca.decoder(features), sa.decoder(features))

import pytest
import torch
from support.network_cases import CASES, build

from nnunet_reca.architectures import NnFormer


def test_published_nnformer_has_the_published_number_of_parameters():
    published = {
        "strides": [[1] * 3] + [[2] * 3] * 3,
        "patch_embed_strides": [[2, 2, 2], [1, 2, 2]],
        "window_sizes": [4, 4, 6, 3],  # of the published 96^3 crop, whose maps shrink the last two
    }
    with torch.device("meta"):
        model = NnFormer(1, 5, **published, auxiliary_heads=False)
        headed = NnFormer(1, 5, **published)
    count = sum(p.numel() for p in model.parameters())
    assert count == 149_265_629
    auxiliary = sum(5 * (width * 2 * 4 * 4 + 1) for width in (384, 768))
    assert sum(p.numel() for p in headed.parameters()) == count + auxiliary


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strides": [[1, 1]]}, "at least two stages"),
        ({"strides": [[2, 2], [2, 2]]}, "leading strides of 1"),
        ({"strides": [[1, 1], [2, 2, 2]]}, r"2 positive strides on every level, got \[2, 2, 2\]"),
        ({"patch_embed_strides": [[2, 2]]}, "2 patch_embed_strides"),
        ({"patch_embed_strides": [[2, 2], [0, 2]]}, r"2 positive strides on every level, got \[0, 2\]"),
        ({"embed_dim": 5}, "even embed_dim, got 5; use 6"),
        ({"num_heads": [7, 3]}, "divides the 28 channels, got 3"),
        ({"depths": [2, 2, 2]}, "expected 2 depths, one for each of the strides, got 3"),
        ({"depths": [0, 2]}, "depths of at least 1"),
        ({"shift_sizes": [1]}, "expected 2 shift_sizes, one for each of the strides, got 1"),
        ({"shift_sizes": [1, 2]}, "0 <= shift < window, got window .2, 2. and shift .2, 2."),
        ({"window_sizes": [3, [2, 2, 2]]}, "one for each of 2 axes"),
        ({"index_scheme": "nnformer"}, "cubic windows for the published index"),
        ({"deep_supervision": True, "auxiliary_heads": False}, "auxiliary_heads=True"),
    ],
)
def test_wrong_nnformer_arguments_name_expected_got_and_fix(change, message):
    _, arguments, _ = CASES["nnformer_2d_two_stages"]
    with pytest.raises(ValueError, match=message):
        NnFormer(1, 2, **{**arguments, **change})


def test_nnformer_total_stride_is_the_token_patch_times_the_merges():
    _, arguments, _ = CASES["nnformer_anisotropic_shifts"]
    assert build(NnFormer, arguments).total_stride == (2, 16, 8)

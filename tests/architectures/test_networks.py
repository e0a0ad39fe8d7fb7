"""One test of everything that any network of the package promises."""

import json
import math

import pytest
import torch

from nnunet_reca.architectures import NnFormer, SwinUnet, SwinUNETR

SMALL = {"feature_size": 12, "depths": [2, 2], "num_heads": [2, 3], "window_sizes": [[2, 3, 2], [2, 2, 3]]}
CASES = {
    "swin_unetr_3d": (
        SwinUNETR,
        {"strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2]], **SMALL},
        (16, 24, 8),
    ),
    "swin_unetr_anisotropic": (
        SwinUNETR,
        {
            "strides": [[1, 1, 1], [1, 2, 2], [1, 2, 2], [2, 2, 2]],
            "kernel_sizes": [[1, 3, 3], [1, 3, 3], [3, 3, 3], [3, 3, 3]],
            **SMALL,
        },
        (6, 24, 16),
    ),
    "swin_unetr_2d_shallow": (
        SwinUNETR,
        {
            "strides": [[1, 1], [2, 2], [2, 2]],
            "feature_size": 24,
            "depths": [3],
            "num_heads": [4],
            "window_sizes": [[3, 5]],
        },
        (20, 28),
    ),
    "nnformer_3d": (
        NnFormer,
        {
            "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
            "patch_embed_strides": [[2, 2, 2], [1, 2, 2]],
            "embed_dim": 12,
            "depths": [2, 3, 2],
            "num_heads": [2, 3, 4],
            "window_sizes": [[2, 3, 2], 3, [2, 1, 3]],
            "drop_path_rate": 0.1,
        },
        (16, 48, 32),
    ),
    "nnformer_anisotropic_shifts": (
        NnFormer,
        {
            "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 1]],
            "patch_embed_strides": [[1, 2, 2], [1, 2, 2]],
            "embed_dim": 8,
            "depths": [2, 1, 3],
            "num_heads": [1, 2, 4],
            "window_sizes": [[2, 3, 5], [5, 3, 2], [2, 2, 3]],
            "shift_sizes": [[1, 0, 3], 1, 0],
            "drop_path_rate": 0.0,
        },
        (6, 48, 40),
    ),
    "nnformer_2d_two_stages": (
        NnFormer,
        {
            "strides": [[1, 1], [2, 2]],
            "patch_embed_strides": [[2, 2], [2, 1]],
            "embed_dim": 14,
            "depths": [3, 2],
            "num_heads": [7, 4],
            "window_sizes": [[3, 5], 2],
            "drop_path_rate": 0.0,
        },
        (40, 28),
    ),
    "swin_unet_2d": (
        SwinUnet,
        {
            "strides": [[1, 1], [4, 2], [2, 2], [1, 3], [2, 2]],
            "embed_dim": 12,
            "depths": [2, 1, 3, 2],
            "num_heads": [2, 3, 4, 6],
            "window_sizes": [[3, 5], 4, [2, 3], 2],
        },
        (48, 72),
    ),
    "swin_unet_3d_one_merge": (
        SwinUnet,
        {
            "strides": [[1, 1, 1], [2, 4, 4], [2, 2, 2]],
            "embed_dim": 6,
            "depths": [2, 2],
            "num_heads": [2, 3],
            "window_sizes": [3, [3, 2, 3]],
        },
        (12, 24, 40),
    ),
    "swin_unet_anisotropic": (
        SwinUnet,
        {
            "strides": [[1, 1, 1], [1, 4, 4], [1, 2, 2], [2, 2, 2]],
            "embed_dim": 12,
            "depths": [2, 2, 2],
            "num_heads": [2, 3, 4],
            "window_sizes": [[2, 3, 4], [2, 3, 3], 2],
        },
        (6, 32, 48),
    ),
}
EACH = pytest.mark.parametrize(("network", "arguments", "size"), CASES.values(), ids=CASES)


def build(network, arguments, **more):
    torch.manual_seed(0)
    return network(2, 5, **json.loads(json.dumps(arguments)), **more)


@EACH
def test_output_has_the_size_of_the_input_and_deep_supervision_every_scale(network, arguments, size):
    model = build(network, arguments)
    x = torch.randn(2, 2, *size)
    assert model(x).shape == (2, 5, *size)
    model.decoder.deep_supervision = True
    scale, expected = size, []
    for stride in arguments["strides"][:-1]:
        scale = tuple(n // s for n, s in zip(scale, stride, strict=True))
        expected.append((2, 5, *scale))
    assert [tuple(o.shape) for o in model(x)] == expected


@EACH
def test_weights_load_with_deep_supervision_on_or_off(network, arguments, size):
    model = build(network, arguments, deep_supervision=True).eval()
    other = build(network, arguments, deep_supervision=False).eval()
    other.load_state_dict(model.state_dict(), strict=True)
    x = torch.randn(1, 2, *size)
    assert torch.equal(model(x)[0], other(x))


@EACH
def test_every_parameter_receives_a_gradient(network, arguments, size):
    model = build(network, arguments, deep_supervision=True)
    sum(o.square().mean() for o in model(torch.randn(2, 2, *size))).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # the key bias shifts all logits of a query alike, which softmax ignores; it is part of qkv.bias
    assert without == []


@EACH
def test_twins_have_identical_state_dicts_and_differ_in_output(network, arguments, size):
    reca, sa = (build(network, arguments, recurrent=r).eval() for r in (True, False))
    sa.load_state_dict(reca.state_dict(), strict=True)
    x = torch.randn(1, 2, *size)
    assert not torch.allclose(reca(x), sa(x), atol=1e-5)


@EACH
def test_carry_resets_between_forward_calls(network, arguments, size):
    model = build(network, arguments).eval()
    x = torch.randn(1, 2, *size)
    first = model(x)
    model(torch.randn_like(x))
    assert torch.equal(model(x), first)


@EACH
def test_segmentation_heads_lie_where_pretrained_loading_skips_them(network, arguments, size):
    model = build(network, arguments)
    by_classes = [n for n, p in model.named_parameters() if p.shape[0] == 5]
    assert by_classes and all(n.startswith("decoder.seg_layers.") for n in by_classes)


@EACH
def test_input_that_the_strides_do_not_divide_raises(network, arguments, size):
    with pytest.raises(ValueError, match="expected sides that are multiples of"):
        build(network, arguments)(torch.randn(1, 2, size[0] + 1, *size[1:]))


@EACH
def test_backward_after_an_inference_mode_pass_works(network, arguments, size):
    model = build(network, arguments)
    x = torch.randn(1, 2, *size)
    with torch.inference_mode():
        model(x)
    model(x).sum().backward()


@EACH
def test_nnunet_initialisation_leaves_no_dead_start(network, arguments, size):
    model = build(network, arguments)
    model.apply(model.initialize)
    output = model(torch.randn(1, 2, *size))
    assert output.isfinite().all() and 1e-3 < output.std() < 1e3


def test_published_swin_unetr_has_the_published_number_of_parameters():
    strides = [[1] * 3] + [[2] * 3] * 5
    with torch.device("meta"):
        model = SwinUNETR(1, 5, strides=strides, auxiliary_heads=False)
        headed = SwinUNETR(1, 5, strides=strides)
    count = sum(p.numel() for p in model.parameters())
    assert count == 62_186_855
    auxiliary = sum(5 * (width + 1) for width in (48, 96, 192, 384))
    assert sum(p.numel() for p in headed.parameters()) == count + auxiliary


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strides": [[1, 1, 1], [2, 4, 4]]}, "at least one merge after the leading 1"),
        ({"strides": [[2, 2, 2]] * 3}, "leading strides of 1"),
        ({"embed_dim": 0}, "embed_dim of at least 1, got 0"),
        ({"num_heads": [2, 5]}, "divides the 12 channels, got 5"),
        ({"depths": [2, 2, 2]}, "expected 2 depths, one per stride after the first, got 3"),
        ({"window_sizes": [3, [2, 3]]}, r"windows of 3 sides or one number, got \[2, 3\]"),
        ({"window_sizes": [3, 0]}, "window sides of at least 1"),
        ({"deep_supervision": True, "auxiliary_heads": False}, "auxiliary_heads=True"),
    ],
)
def test_wrong_swin_unet_arguments_name_expected_got_and_fix(change, message):
    _, arguments, _ = CASES["swin_unet_3d_one_merge"]
    with pytest.raises(ValueError, match=message):
        SwinUnet(1, 2, **{**arguments, **change})


def test_swin_unet_decoder_has_self_attention_in_both_twins():
    network, arguments, size = CASES["swin_unet_3d_one_merge"]
    reca, sa = (build(network, arguments, recurrent=r).eval() for r in (True, False))
    features = sa.encoder(torch.randn(1, 2, *size))
    assert torch.equal(reca.decoder(features), sa.decoder(features))


def test_anisotropic_total_stride():
    _, arguments, _ = CASES["swin_unetr_anisotropic"]
    model = build(SwinUNETR, arguments)
    assert model.total_stride == tuple(math.prod(s[a] for s in arguments["strides"]) for a in range(3)) == (2, 8, 8)


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
        ({"window_sizes": [3, [2, 2, 2]]}, "expected 2 axes with 0 <= shift < window"),
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

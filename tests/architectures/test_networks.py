"""One test of everything that any network of the package promises."""

import json
import math

import pytest
import torch

from nnunet_reca.architectures import DATransUNet, SwinUNETR

SMALL = {"feature_size": 12, "depths": [2, 2], "num_heads": [2, 3], "window_sizes": [[2, 3, 2], [2, 2, 3]]}
HYBRID = {"hidden_size": 96, "num_heads": 3, "mlp_dim": 60, "resnet_width": 32, "bottleneck_channels": 64}
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
    "da_transunet": (
        DATransUNet,
        {
            "strides": [[1, 1], [2, 2], [2, 2], [2, 2], [2, 2]],
            "grid_size": [2, 3],
            "num_layers": 3,
            "resnet_layers": [2, 1, 1],
            "decoder_channels": [24, 12, 8, 7],
            **HYBRID,
        },
        (32, 48),
    ),
    "da_transunet_anisotropic_other_grid": (
        DATransUNet,
        {
            "strides": [[1, 1], [2, 2], [2, 1], [3, 2]],
            "grid_size": [4, 2],
            "num_layers": 2,
            "resnet_layers": [1, 2],
            "decoder_channels": [24, 12, 8],
            "n_skip": 1,
            **HYBRID,
        },
        (36, 28),
    ),
    "da_transunet_shallow": (
        DATransUNet,
        {
            "strides": [[1, 1], [1, 2], [2, 2]],
            "grid_size": [3, 5],
            "num_layers": 2,
            "resnet_layers": [1],
            "decoder_channels": [12, 8],
            "skip_attention": [True],
            **HYBRID,
        },
        (6, 20),
    ),
}
EACH = pytest.mark.parametrize(("network", "arguments", "size"), CASES.values(), ids=CASES)


def build(network, arguments, **more):
    torch.manual_seed(0)
    return network(2, 5, **json.loads(json.dumps(arguments)), **more)


def away_from_start(model):
    """Noise on all parameters: gates that start at zero hide what lies behind them, and fresh attention is flat."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


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
    model = away_from_start(build(network, arguments, deep_supervision=True))
    sum(o.square().mean() for o in model(torch.randn(2, 2, *size))).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # the key bias shifts all logits of a query alike, which softmax ignores; it is part of qkv.bias
    assert without == []


@EACH
def test_twins_have_identical_state_dicts_and_differ_in_output(network, arguments, size):
    reca, sa = (away_from_start(build(network, arguments, recurrent=r)).eval() for r in (True, False))
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


def test_published_da_transunet_has_the_published_number_of_parameters_without_the_unused_ones():
    strides = [[1, 1]] + [[2, 2]] * 4
    with torch.device("meta"):
        model = DATransUNet(3, 9, strides=strides, grid_size=[14, 14], auxiliary_heads=False)
        headed = DATransUNet(3, 9, strides=strides, grid_size=[14, 14])
    count = sum(p.numel() for p in model.parameters())
    unused = 1_513_816  # in 272 tensors: conv6 and conv7 of every dual-attention head, heads for other channel numbers
    assert count == 107_951_855 - unused
    auxiliary = sum(9 * (9 * width + 1) for width in (64, 128, 256))
    assert sum(p.numel() for p in headed.parameters()) == count + auxiliary


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strides": [[1, 1], [2, 2]]}, "2 to 4 poolings after the leading 1, got 1"),
        ({"strides": [[1, 1]] + [[2, 2]] * 5}, "2 to 4 poolings after the leading 1, got 5"),
        ({"strides": [[1, 1, 1]] + [[2, 2, 2]] * 2}, "2D network"),
        ({"strides": [[2, 2], [2, 2], [2, 2]]}, "leading strides of 1"),
        ({"grid_size": [4]}, r"two positive sides as grid_size, got \[4\]"),
        ({"n_skip": 2}, "n_skip between 0 and 1 for 2 poolings, got 2"),
        ({"resnet_layers": [1, 1]}, "expected 1 resnet_layers for 2 poolings, got 2"),
        ({"resnet_layers": [0]}, "at least one bottleneck"),
        ({"decoder_channels": [8]}, "expected 2 decoder_channels for 2 poolings, got 1"),
        ({"skip_attention": []}, "expected 1 skip_attention for 1 skips, got 0"),
        ({"resnet_width": 48}, "multiple of 32 .*, got 48; use 32 or 64"),
        ({"num_heads": 7}, "divides the 96 channels, got 7"),
        ({"valid_pooling": True}, "use valid_pooling=False"),
        ({"deep_supervision": True, "auxiliary_heads": False}, "auxiliary_heads=True"),
    ],
)
def test_wrong_arguments_of_da_transunet_name_expected_got_and_fix(change, message):
    _, arguments, _ = CASES["da_transunet_shallow"]
    with pytest.raises(ValueError, match=message):
        DATransUNet(1, 2, **{**arguments, **change})


def test_single_channel_is_repeated_to_three_on_request():
    _, arguments, size = CASES["da_transunet"]
    torch.manual_seed(0)
    model = DATransUNet(1, 2, repeat_single_channel=True, **arguments).eval()
    assert model.encoder.resnet.root[0].weight.shape[1] == 3
    x = torch.randn(1, 1, *size)
    torch.testing.assert_close(model(x), model(x.repeat(1, 3, 1, 1)))
    assert DATransUNet(1, 2, **arguments).encoder.resnet.root[0].weight.shape[1] == 1


def test_position_embedding_follows_the_grid_without_swapping_axes():
    _, arguments, size = CASES["da_transunet"]
    encoder = build(DATransUNet, arguments).encoder
    assert encoder._positions((2, 3)) is encoder.position_embedding
    with torch.no_grad():
        rows, columns = torch.meshgrid(torch.tensor([0.0, 7.0]), torch.tensor([0.0, 1.0, 2.0]), indexing="ij")
        encoder.position_embedding.copy_((rows + columns).reshape(1, 6, 1).expand(1, 6, 96))
        resized = encoder._positions((6, 9)).unflatten(1, (6, 9))
    along_rows, along_columns = resized[0].diff(dim=0).mean(), resized[0].diff(dim=1).mean()
    assert 0.9 < along_rows * 5 / 7 < 1.4 and 0.9 < along_columns * 8 / 2 < 1.4

import pytest
import torch
from support.network_cases import CASES, build

from nnunet_reca.architectures import DATransUnet


def test_published_da_transunet_has_the_published_number_of_parameters_without_the_unused_ones():
    strides = [[1, 1]] + [[2, 2]] * 4
    with torch.device("meta"):
        model = DATransUnet(3, 9, strides=strides, grid_size=[14, 14], auxiliary_heads=False)
        headed = DATransUnet(3, 9, strides=strides, grid_size=[14, 14])
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
        ({"num_layers": 0}, "num_layers of at least 1"),
        ({"num_heads": 7}, "divides the 96 channels, got 7"),
        ({"valid_pooling": True}, "use valid_pooling=False"),
        ({"deep_supervision": True, "auxiliary_heads": False}, "auxiliary_heads=True"),
    ],
)
def test_wrong_arguments_of_da_transunet_name_expected_got_and_fix(change, message):
    _, arguments, _ = CASES["da_transunet_shallow"]
    with pytest.raises(ValueError, match=message):
        DATransUnet(1, 2, **{**arguments, **change})


def test_single_channel_is_repeated_to_three_on_request():
    _, arguments, size = CASES["da_transunet"]
    torch.manual_seed(0)
    model = DATransUnet(1, 2, repeat_single_channel=True, **arguments).eval()
    assert model.encoder.resnet.root[0].weight.shape[1] == 3
    x = torch.randn(1, 1, *size)
    torch.testing.assert_close(model(x), model(x.repeat(1, 3, 1, 1)))
    assert DATransUnet(1, 2, **arguments).encoder.resnet.root[0].weight.shape[1] == 1


def test_position_embedding_follows_the_grid_without_swapping_axes():
    _, arguments, size = CASES["da_transunet"]
    encoder = build(DATransUnet, arguments).encoder
    assert encoder._positions((2, 3)) is encoder.position_embedding
    with torch.no_grad():
        rows, columns = torch.meshgrid(torch.tensor([0.0, 7.0]), torch.tensor([0.0, 1.0, 2.0]), indexing="ij")
        encoder.position_embedding.copy_((rows + columns).reshape(1, 6, 1).expand(1, 6, 96))
        resized = encoder._positions((6, 9)).unflatten(1, (6, 9))
    along_rows, along_columns = resized[0].diff(dim=0).mean(), resized[0].diff(dim=1).mean()
    assert 0.9 < along_rows * 5 / 7 < 1.4 and 0.9 < along_columns * 8 / 2 < 1.4

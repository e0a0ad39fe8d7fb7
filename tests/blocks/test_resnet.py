import pytest
import torch

from nnunet_reca.blocks import HybridResNet


def resnet(strides, layers, **more):
    torch.manual_seed(0)
    return HybridResNet(2, 32, layers, strides, **more).eval()


@pytest.mark.parametrize("strides", [[(2, 2), (2, 2), (2, 2)], [(2, 1), (1, 2), (3, 2)], [(4, 2), (3, 1), (1, 2)]])
def test_every_map_has_the_size_that_the_strides_say(strides):
    network, size = resnet(strides, [1, 2]), (24, 40)
    sizes = [tuple(f.shape[1:]) for f in network(torch.randn(1, 2, *size))]
    expected = []
    for channels, stride in zip((32, 128, 256), strides, strict=True):
        size = tuple(n // s for n, s in zip(size, stride, strict=True))
        expected.append((channels, *size))
    assert sizes == expected
    assert network.channels == [32, 128, 256]


def test_published_pooling_has_the_same_sizes_and_zeros_at_the_border_of_the_first_stage():
    strides, x = [(2, 2)] * 4, torch.randn(1, 2, 48, 32)
    ours, published = resnet(strides, [1, 1, 1]), resnet(strides, [1, 1, 1], valid_pooling=True)
    features = published(x)
    assert [f.shape for f in features] == [f.shape for f in ours(x)]
    assert features[1][:, :, -1].abs().sum() == 0 and features[1][:, :, :, -1].abs().sum() == 0
    assert ours(x)[1][:, :, -1].abs().sum() > 0


def test_kernels_are_standardised():
    network = resnet([(2, 2), (2, 2)], [1])
    x = torch.randn(1, 2, 16, 24)
    before = network(x)
    with torch.no_grad():
        network.root[0].weight.mul_(3).add_(5)
    torch.testing.assert_close(network(x)[-1], before[-1], atol=1e-2, rtol=1e-2)

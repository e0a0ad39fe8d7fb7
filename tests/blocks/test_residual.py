import pytest
import torch

from nnunet_reca.architectures import SwinUNETR
from nnunet_reca.architectures.swin_unetr import UpBlock
from nnunet_reca.blocks import ResidualBlock
from nnunet_reca.ops import slabs


@pytest.fixture(params=[1, slabs.SLAB], ids=["many slabs", "one slab"])
def slab_size(request, monkeypatch):
    monkeypatch.setattr(slabs, "SLAB", request.param)


@pytest.fixture(params=[0, slabs.LARGE], ids=["large maps", "small maps"])
def kernels(request, monkeypatch):
    monkeypatch.setattr(slabs, "LARGE", request.param)


def compare(module, *args):
    """Outputs with and without gradients; the latter takes its inputs as they are."""
    expected, before = module(*args), [a.clone() for a in args]
    with torch.no_grad():
        out = module(*args)
    if isinstance(out, tuple):
        out, expected = out[0], expected[0]
    torch.testing.assert_close(out, expected, atol=1e-9, rtol=1e-9)
    assert all(torch.equal(a, b) for a, b in zip(args, before, strict=True))


@pytest.mark.usefixtures("slab_size", "kernels")
@pytest.mark.parametrize("channels", [(1, 4), (5, 5), (18, 17)], ids=str)
@pytest.mark.parametrize("kernel", [(3, 3, 3), (1, 3, 3), (3, 1, 3)], ids=str)
@pytest.mark.parametrize("size", [(1, 3, 4), (5, 6, 7), (13, 4, 3)], ids=str)
def test_inference_equals_the_block_that_learns(channels, kernel, size):
    torch.manual_seed(0)
    block = ResidualBlock(*channels, kernel).double()
    compare(block, torch.randn(2, channels[0], *size, dtype=torch.float64))


@pytest.mark.usefixtures("slab_size", "kernels")
@pytest.mark.parametrize("stride", [(2, 2, 2), (1, 2, 2), (2, 1, 3)], ids=str)
def test_inference_of_the_upsampling_block(stride):
    torch.manual_seed(0)
    block = UpBlock(10, 9, stride, (3, 3, 3)).double()
    size = (5, 4, 3)
    x, skip = (
        torch.randn(2, c, *s, dtype=torch.float64)
        for c, s in ((10, size), (9, [a * b for a, b in zip(size, stride, strict=True)]))
    )
    compare(block, x, skip)


@pytest.mark.usefixtures("slab_size")
@pytest.mark.parametrize("dimensions", [2, 3])
def test_inference_of_the_whole_network(dimensions):
    """2D maps do not run in slabs, but the MLPs of both take tokens in parts."""
    torch.manual_seed(0)
    strides = [[1] * dimensions] + [[2] * dimensions] * 3
    network = SwinUNETR(2, 3, strides=strides, feature_size=24, depths=(2, 2), num_heads=(2, 4), window_sizes=(4, 4))
    network = network.double().eval()
    compare(network, torch.randn(2, 2, *[24, 16, 32][:dimensions], dtype=torch.float64))


def test_mlps_in_parts_keep_drop_path_in_training(monkeypatch):
    from nnunet_reca.blocks import SwinBlock, swin_block

    monkeypatch.setattr(swin_block, "TOKENS", 7)
    torch.manual_seed(0)
    block = SwinBlock(12, 3, (4, 4), (0, 0), drop_path=0.5).double()
    x = torch.randn(6, 12, 8, 8, dtype=torch.float64).movedim(1, -1)
    compare(block.eval(), x)
    block.train()
    with torch.no_grad():
        torch.manual_seed(1)
        out, _ = block(x)
    torch.manual_seed(1)
    torch.testing.assert_close(out, block(x)[0])


def test_one_voxel_raises():
    with torch.no_grad(), pytest.raises(ValueError, match="more than one voxel"):
        ResidualBlock(2, 3, (3, 3, 3))(torch.randn(1, 2, 1, 1, 1))

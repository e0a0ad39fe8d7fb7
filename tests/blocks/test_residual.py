import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from nnunet_reca.architectures import SwinUNETR
from nnunet_reca.blocks import ResidualBlock, SwinBlock, UpBlock, slabs
from nnunet_reca.blocks.mlp import add_in_parts
from nnunet_reca.ops.slabs import SLAB

DTYPES = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-4)], ids=["float64", "float32"]
)
LAYOUTS = {
    "contiguous": lambda x: x,
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last_3d),
    "every second": lambda x: x.repeat_interleave(2, -1)[..., ::2],
    "one image": lambda x: x[:1].expand_as(x),
}


WAYS = pytest.mark.parametrize("slab_bytes", [1, SLAB], ids=["many slabs", "one slab"])
METHODS = ("winograd", "onednn", "torch")
#: Winograd's convolution is for kernels that span three slices
KERNELS = [(k, m) for k in ((3, 3, 3), (1, 3, 3), (3, 1, 3)) for m in METHODS if k[0] == 3 or m != "winograd"]


def compare(expected, out, args, tolerance=1e-9):
    """Outputs of a block with gradients and of its slabs without them, which leave their inputs as they are."""
    before = [a.clone() for a in args]
    with torch.no_grad():
        torch.testing.assert_close(out(), expected, atol=tolerance, rtol=tolerance)
    assert all(torch.equal(a, b) for a, b in zip(args, before, strict=True))


def upsampling(stride, dtype=torch.float64):
    """Block, and its input and skip for a batch of two."""
    torch.manual_seed(0)
    size = (5, 4, 3)
    larger = [a * b for a, b in zip(size, stride, strict=True)]
    maps = [torch.randn(2, channels, *sides, dtype=dtype) for channels, sides in ((10, size), (9, larger))]
    return UpBlock(10, 9, stride, (3, 3, 3)).to(dtype), *maps


@WAYS
@pytest.mark.parametrize("channels", [(1, 4), (5, 5), (18, 17)], ids=str)
@pytest.mark.parametrize(("kernel", "method"), KERNELS, ids=str)
@pytest.mark.parametrize("size", [(1, 3, 4), (5, 6, 7), (13, 4, 3)], ids=str)
@DTYPES
def test_residual_block_in_slabs(channels, kernel, size, slab_bytes, method, dtype, tolerance):
    torch.manual_seed(0)
    block, x = ResidualBlock(*channels, kernel).to(dtype), torch.randn(2, channels[0], *size, dtype=dtype)
    compare(
        block(x),
        lambda: slabs.residual_block(block.weights, x, slab_bytes=slab_bytes, method=method),
        [x],
        tolerance=tolerance,
    )


@WAYS
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stride", [(2, 2, 2), (1, 2, 2), (2, 1, 3)], ids=str)
@DTYPES
def test_up_block_in_slabs(stride, slab_bytes, method, dtype, tolerance):
    block, *maps = upsampling(stride, dtype)
    compare(
        block(*maps),
        lambda: slabs.up_block(
            block.upsample.weight, block.refine.weights, *maps, slab_bytes=slab_bytes, method=method
        ),
        maps,
        tolerance,
    )


@WAYS
def test_slabs_under_bfloat16_autocast_are_as_near_to_float32_as_the_block_that_learns(slab_bytes):
    torch.manual_seed(0)
    block, x = ResidualBlock(18, 17, (3, 3, 3)), torch.randn(2, 18, 13, 6, 5)
    up, *maps = upsampling((2, 2, 2), torch.float32)
    ways = {
        block: ([x], lambda: slabs.residual_block(block.weights, x, slab_bytes=slab_bytes)),
        up: (maps, lambda: slabs.up_block(up.upsample.weight, up.refine.weights, *maps, slab_bytes=slab_bytes)),
    }
    for module, (inputs, in_slabs) in ways.items():
        exact = module(*inputs)
        with torch.autocast("cpu", torch.bfloat16):
            learns = module(*inputs)
            with torch.no_grad():
                assert slabs.runs_in_slabs(inputs[0])
                found, whole = in_slabs(), module(*inputs)
        assert found.dtype == whole.dtype == learns.dtype == torch.bfloat16
        error, allowed = ((out - exact).abs().max() for out in (found, learns))
        assert error < 1.5 * allowed < 0.1


@WAYS
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts_of_the_input(layout, slab_bytes):
    torch.manual_seed(0)
    block, x = ResidualBlock(5, 5, (3, 3, 3)).double(), layout(torch.randn(2, 5, 6, 7, 4, dtype=torch.float64))
    compare(block(x), lambda: slabs.residual_block(block.weights, x, slab_bytes=slab_bytes), [x])
    up, x, skip = upsampling((2, 2, 2))
    for maps in ((layout(x), skip), (x, layout(skip))):
        compare(
            up(*maps),
            lambda maps=maps: slabs.up_block(up.upsample.weight, up.refine.weights, *maps, slab_bytes=slab_bytes),
            maps,
        )


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("deep_supervision", [False, True])
def test_inference_of_the_whole_network(dimensions, deep_supervision):
    """2D maps do not run in slabs, but the MLPs of both take tokens in parts."""
    torch.manual_seed(0)
    strides = [[1] * dimensions] + [[2] * dimensions] * 3
    options = {"feature_size": 24, "depths": (2, 2), "num_heads": (2, 4), "window_sizes": (4, 4)}
    network = SwinUNETR(2, 3, strides=strides, deep_supervision=deep_supervision, **options).double().eval()
    x = torch.randn(2, 2, *[24, 16, 32][:dimensions], dtype=torch.float64)
    compare(network(x), lambda: network(x), [x])


def test_two_voxels_at_the_bottleneck_cost_float32_digits_with_and_without_gradients():
    """Instance norm over two voxels multiplies a difference by up to eps^-0.5; both paths are equal in float64."""
    torch.manual_seed(1)
    strides = [[1, 1], [2, 2], [2, 2], [1, 2]]
    network = SwinUNETR(2, 3, strides=strides, depths=(2, 2), num_heads=(3, 6), window_sizes=(7, 7)).double().eval()
    x = torch.randn(1, 2, 4, 16, dtype=torch.float64)
    exact = network(x)
    compare(exact, lambda: network(x), [x])
    network.float()
    with torch.no_grad():
        inference = network(x.float())
    for output in (network(x.float()), inference):
        assert (output - exact).abs().max() < 2e-3 * exact.std()


@pytest.mark.parametrize("tokens", [1, 7, 100, 10**6])
def test_mlp_in_parts(tokens):
    torch.manual_seed(0)
    branch, x = torch.nn.Linear(12, 12).double(), torch.randn(6, 12, 8, 8, dtype=torch.float64).movedim(1, -1)
    sizes = []

    def counted(part):
        sizes.append(part.shape[:-1].numel())
        return branch(part)

    with torch.no_grad():
        torch.testing.assert_close(add_in_parts(x.clone(), counted, tokens), x + branch(x))
    assert sum(sizes) == 6 * 8 * 8 and max(sizes) <= max(tokens, 6 * 8)


def test_mlps_in_parts_keep_drop_path_in_training():
    torch.manual_seed(0)
    block = SwinBlock(12, 3, (4, 4), (0, 0), drop_path=0.5).double()
    x = torch.randn(6, 12, 8, 8, dtype=torch.float64).movedim(1, -1)
    block.eval()
    compare(block(x)[0], lambda: block(x)[0], [x])
    block.train()
    with torch.no_grad():
        torch.manual_seed(1)
        out, _ = block(x)
    torch.manual_seed(1)
    torch.testing.assert_close(out, block(x)[0])


def test_an_empty_batch():
    block = SwinBlock(12, 3, (4, 4), (0, 0)).eval()
    with torch.no_grad():
        assert ResidualBlock(2, 3, (3, 3, 3))(torch.randn(0, 2, 4, 4, 4)).shape == (0, 3, 4, 4, 4)
        assert block(torch.randn(0, 4, 4, 12))[0].shape == (0, 4, 4, 12)


def test_an_empty_batch_of_2d_maps():
    assert ResidualBlock(2, 3, (3, 3))(torch.randn(0, 2, 4, 4)).shape == (0, 3, 4, 4)


def test_one_voxel_raises():
    with torch.no_grad(), pytest.raises(ValueError, match="more than one voxel"):
        ResidualBlock(2, 3, (3, 3, 3))(torch.randn(1, 2, 1, 1, 1))


def test_flops_and_fake_tensors_are_those_of_the_block_that_learns():
    block, x = ResidualBlock(16, 4, (3, 3, 3)), torch.randn(1, 16, 5, 6, 7)
    counts = []
    for gradients in (True, False):
        with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(gradients):
            block(x)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.no_grad():
        assert block(mode.from_tensor(x)).shape == (1, 4, 5, 6, 7)


def test_the_default_device_does_not_matter():
    block, x = ResidualBlock(3, 3, (3, 3, 3)), torch.randn(1, 3, 4, 5, 6)
    with torch.no_grad(), torch.device("meta"):
        assert block(x).device.type == "cpu"

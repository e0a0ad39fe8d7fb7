import itertools

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from nnunet_reca.ops import _torch
from nnunet_reca.ops._torch import convolution
from nnunet_reca.ops.slabs import (
    TILE,
    Moments,
    SlabConvolution,
    convolution_method,
    iterate_slabs,
    runs_in_slabs,
    slab_depth,
    upsample_slices,
)


def copier(x):
    def write(out, start):
        out.copy_(x[:, :, start : start + out.shape[2]])

    return write


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize(
    ("kernel", "method"),
    [
        *itertools.product([(3, 3, 3), (1, 3, 3), (3, 1, 1), (5, 3, 1), (1, 1, 1)], ["onednn", "torch"]),
        *itertools.product([(3, 3, 3), (3, 1, 1)], ["winograd"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("channels", [(2, 5), (16, 5), (33, 2)], ids=str)
@pytest.mark.parametrize("size", [(1, 5, 6), (3, 4, 7), (9, 6, 5), (18, 3, 4)], ids=str)
@pytest.mark.parametrize("depth", [4, 8, 24])
def test_convolution_in_slabs(kernel, channels, size, depth, method):
    torch.manual_seed(0)
    x = channels_last(torch.randn(1, channels[0], *size, dtype=torch.float64))
    weight = torch.randn(channels[1], channels[0], *kernel, dtype=torch.float64)
    conv = SlabConvolution(weight, method)
    out = torch.full((1, channels[1], *size), torch.nan, dtype=torch.float64)
    with torch.no_grad():
        for part, slab in iterate_slabs(copier(x), x, channels[0], min(depth, size[0]), conv.halo):
            conv(slab, out[:, :, part])
    torch.testing.assert_close(out, F.conv3d(x, weight, padding=[k // 2 for k in kernel]))


def test_winograd_in_float32_errs_by_few_parts_in_a_hundred_thousand():
    torch.manual_seed(0)
    x, weight = channels_last(torch.randn(1, 48, 12, 24, 24)), torch.randn(48, 48, 3, 3, 3)
    out, conv = torch.empty(1, 48, 12, 24, 24), SlabConvolution(weight, "winograd")
    with torch.no_grad():
        for part, slab in iterate_slabs(copier(x), x, 48, 4, conv.halo):
            conv(slab, out[:, :, part])
    expected = F.conv3d(x.double(), weight.double(), padding=1)
    assert (out - expected).abs().max() < 5e-5 * expected.std()


@pytest.mark.parametrize(
    ("channels", "kernel", "voxels", "method"),
    [
        (16, (3, 3, 3), 80, "winograd"),
        (16, (1, 3, 3), 80, "onednn"),
        (15, (3, 3, 3), 80, "onednn"),
        (16, (3, 3, 3), 79, "torch"),
    ],
)
def test_method_of_a_convolution_follows_its_size(channels, kernel, voxels, method):
    assert convolution_method(torch.empty(5, channels, *kernel), voxels) == method


@pytest.mark.parametrize("name", ["_flash_attention", "_dispatch_modes", "_onednn_convolution"])
def test_what_pytorch_lacks_is_done_without(name, monkeypatch):
    monkeypatch.setattr(_torch, name, None)
    x, weight = torch.randn(1, 3, 5, 6, 7), torch.randn(4, 3, 3, 3, 3)
    torch.testing.assert_close(convolution(x, weight, (1, 1, 1)), F.conv3d(x, weight, padding=1))
    with torch.no_grad():
        assert runs_in_slabs(x) == (name != "_dispatch_modes")


@pytest.mark.parametrize("halo", [0, 1, 2])
def test_each_slice_is_asked_for_once_and_seen_with_its_neighbours(halo):
    x, asked = torch.arange(1.0, 12).view(1, 1, 11, 1, 1).expand(1, 2, 11, 3, 2), []

    def write(out, start):
        asked.extend(range(start, start + out.shape[2]))
        out.copy_(x[:, :, start : start + out.shape[2]])

    padded = F.pad(x, (0, 0, 0, 0, halo, halo))
    for part, slab in iterate_slabs(write, x, 2, 4, halo):
        assert torch.equal(slab, padded[:, :, part.start : part.stop + 2 * halo])
    assert asked == list(range(11))


@pytest.mark.parametrize(
    ("size", "channels", "halo", "depth"),
    [((96, 96, 96), 48, 1, 4), ((96, 96, 96), 1, 1, 96), ((40, 512, 512), 96, 1, 4), ((3, 512, 512), 96, 1, 3)],
)
def test_depth_of_a_slab_is_a_multiple_of_the_tile_or_the_map(size, channels, halo, depth):
    assert slab_depth(torch.empty(1, 1, *size), channels, halo) == depth


def test_slabs_are_as_deep_as_both_halos():
    depth = slab_depth(torch.empty(1, 1, 40, 2048, 2048), 8, halo=3)
    assert depth >= 6 and depth % TILE == 0


def test_moments_of_a_map_far_from_zero():
    torch.manual_seed(0)
    x = 300 + torch.randn(1, 5, 37, 20, 20)
    moments = Moments()
    for part in x.split(4, dim=2):
        moments.add(part)
    scale, shift = moments.scale_and_shift(1e-5)
    normalised = torch.addcmul(shift, x, scale)
    torch.testing.assert_close(normalised.double(), F.instance_norm(x.double()), atol=1e-4, rtol=0)


def test_a_slab_thinner_than_its_halos_raises():
    with pytest.raises(ValueError, match="at least 4 slices"):
        next(iterate_slabs(lambda out, start: None, torch.empty(1, 1, 9, 3, 3), 1, 3, halo=2))


def test_one_voxel_raises():
    moments = Moments()
    moments.add(torch.randn(1, 3, 1, 1, 1))
    with pytest.raises(ValueError, match="more than one voxel"):
        moments.scale_and_shift(1e-5)


@pytest.mark.parametrize("stride", [(2, 2, 2), (1, 2, 2), (3, 1, 4)], ids=str)
def test_slices_of_a_transposed_convolution(stride):
    torch.manual_seed(0)
    x, weight = torch.randn(1, 3, 4, 5, 2, dtype=torch.float64), torch.randn(3, 7, *stride, dtype=torch.float64)
    expected = F.conv_transpose3d(x, weight, stride=stride)
    out = channels_last(torch.zeros_like(expected))
    for start in range(0, expected.shape[2], 3):
        upsample_slices(x, weight, out[:, :, start : start + 3], start)
    torch.testing.assert_close(out, expected)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch was built without oneDNN")
def test_with_and_without_onednn(monkeypatch):
    torch.manual_seed(0)
    x, weight, called = torch.randn(1, 3, 5, 6, 7), torch.randn(4, 3, 3, 3, 3), []
    original = torch.mkldnn_convolution
    monkeypatch.setattr(_torch, "_onednn_convolution", lambda *args: called.append(args) or original(*args))
    fast = convolution(x, weight, (1, 1, 1))
    assert len(called) == 1
    with torch.backends.mkldnn.flags(enabled=False):
        torch.testing.assert_close(convolution(x, weight, (1, 1, 1)), fast)
    assert len(called) == 1


def test_what_runs_in_slabs(monkeypatch):
    x = torch.randn(1, 2, 4, 4, 4)
    assert not runs_in_slabs(x)  # gradients are on
    with torch.no_grad():
        assert runs_in_slabs(x) and runs_in_slabs(x.double())
        assert not runs_in_slabs(x.half()) and not runs_in_slabs(x[..., 0]) and not runs_in_slabs(x.to("meta"))
        assert not runs_in_slabs(torch.nn.Parameter(x))  # as are all subclasses
        with torch.autocast("cpu", torch.bfloat16):
            assert runs_in_slabs(x) and runs_in_slabs(x.bfloat16())
        with torch.autocast("cpu", torch.float16):
            assert not runs_in_slabs(x)
        with FlopCounterMode(display=False):
            assert not runs_in_slabs(x)
        for module, function in ((torch.jit, "is_tracing"), (torch.compiler, "is_compiling")):
            with monkeypatch.context() as patch:
                patch.setattr(module, function, lambda: True)
                assert not runs_in_slabs(x)
    with torch.inference_mode():
        assert runs_in_slabs(x)

"""The strided convolution of tokens is PyTorch's, as a product or not."""

import pytest
import torch
from torch.nn import functional as F

from nnunet_reca.ops import convolve_tokens as module
from nnunet_reca.ops.convolve_tokens import convolve_tokens

SMALL = {"2d": ((6, 7), (3, 3), (2, 1)), "3d": ((3, 4, 2), (3, 1, 3), (1, 2, 2))}


def layouts(dimensions):
    return torch.contiguous_format, torch.channels_last_3d if dimensions == 3 else torch.channels_last


@pytest.mark.parametrize("layout", [0, 1], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize(("size", "kernel", "stride"), SMALL.values(), ids=SMALL)
def test_product_equals_the_convolution_in_values_and_gradients(monkeypatch, size, kernel, stride, layout):
    x = torch.randn(2, *size, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(97, 5, *kernel, dtype=torch.float64).to(memory_format=layouts(len(size))[layout])
    weight.requires_grad_()
    bias = torch.randn(97, dtype=torch.float64, requires_grad=True)
    called = []
    product = module._product
    monkeypatch.setattr(module, "_product", lambda *arguments: called.append(1) or product(*arguments))
    out = convolve_tokens(x, weight, bias, stride)
    assert called and out.is_contiguous()
    conv = F.conv3d if len(size) == 3 else F.conv2d
    expected = conv(x.movedim(-1, 1), weight, bias, stride, tuple(k // 2 for k in kernel)).movedim(1, -1)
    torch.testing.assert_close(out, expected)
    cotangent = torch.randn_like(out)
    found, wanted = (torch.autograd.grad(y, (x, weight, bias), cotangent) for y in (out, expected))
    torch.testing.assert_close(found, wanted)


def test_product_copies_no_kernel():
    """Neither memory format of the kernel is brought into another, forward or backward."""
    for layout in layouts(3):
        weight = torch.randn(64, 40, 3, 3, 3).to(memory_format=layout).requires_grad_()
        x = torch.randn(1, 4, 2, 2, 40, requires_grad=True)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            convolve_tokens(x, weight, None, (2, 2, 2)).sum().backward()
        large = [e for e in profile.events() if e.name == "aten::empty" and e.cpu_memory_usage >= 4 * weight.numel()]
        allocated = sum(e.self_cpu_memory_usage for e in profile.key_averages() if e.self_cpu_memory_usage > 0)
        assert len(large) <= 1 and allocated < 1.6 * 4 * weight.numel(), "the kernel's gradient alone"
        assert weight.grad.stride() == weight.stride()


def test_large_map_stays_a_convolution(monkeypatch):
    monkeypatch.setattr(module, "_product", lambda *arguments: pytest.fail("gathered a map larger than the kernel"))
    x = torch.randn(1, 6, 6, 5)
    assert convolve_tokens(x, torch.randn(7, 5, 3, 3), None, (2, 2)).shape == (1, 3, 3, 7)

import pytest
import torch
from torch.nn import functional as F

from nnunet_reca.ops import instance_norm
from nnunet_reca.ops.norm import _HalfLayerNorm, _InstanceNormLeakyReLU

SHAPES = [(1, 5, 7, 3, 4), (3, 5, 7, 3, 4), (1, 5, 7, 3), (2, 5, 1, 6)]


def explicit(x, eps=1e-5):
    axes = tuple(range(2, x.ndim))
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    return (x - mean) / (variance + eps).sqrt()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("gradient_channels_last", [False, True])
def test_output_and_gradient_in_every_layout(shape, channels_last, gradient_channels_last):
    """A batch of one with a channels-last gradient is where PyTorch's own instance norm errs on the CPU."""
    torch.manual_seed(0)
    layouts = {False: torch.contiguous_format, True: torch.channels_last_3d if len(shape) == 5 else torch.channels_last}
    x = (3 + 2 * torch.randn(shape, dtype=torch.float64)).contiguous(memory_format=layouts[channels_last])
    x.requires_grad_()
    grad = torch.randn(shape, dtype=torch.float64).contiguous(memory_format=layouts[gradient_channels_last])
    out, expected = instance_norm(x), explicit(x)
    torch.testing.assert_close(out, expected)
    assert out.is_contiguous(memory_format=layouts[True])
    torch.testing.assert_close(torch.autograd.grad(out, x, grad), torch.autograd.grad(expected, x, grad))


def test_gradient_is_that_of_finite_differences():
    x = torch.randn(2, 3, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(instance_norm, [x])


def test_one_voxel_raises():
    with pytest.raises(ValueError, match="more than one voxel"):
        instance_norm(torch.randn(2, 3, 1, 1, 1))


def test_float32_sums_over_many_voxels_stay_precise():
    torch.manual_seed(0)
    x = (0.5 + torch.randn(1, 3, 80, 80, 80)).requires_grad_()
    grad = torch.randn_like(x)
    double = x.detach().double().requires_grad_()
    out, expected = instance_norm(x), explicit(double)
    torch.testing.assert_close(out.double(), expected, atol=1e-5, rtol=0)
    (ours,), (theirs,) = torch.autograd.grad(out, x, grad), torch.autograd.grad(expected, double, grad.double())
    torch.testing.assert_close(ours.double(), theirs, atol=1e-5, rtol=0)


def test_in_place_without_a_gradient_only():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 5, 6).contiguous(memory_format=torch.channels_last_3d)
    expected, before = instance_norm(x), x.clone()
    assert torch.equal(x, before)
    learned = x.clone().requires_grad_()
    assert torch.equal(instance_norm(learned, inplace=True), expected)
    assert torch.equal(learned, before)
    assert torch.equal(instance_norm(x, inplace=True), expected)
    assert torch.equal(x, expected)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float16, 4e-3)])
def test_norm_and_leaky_relu_have_the_gradient_of_both_though_the_input_is_not_kept(dtype, tolerance):
    torch.manual_seed(0)
    x = (3 + 2 * torch.randn(2, 3, 5, 7, 6, dtype=torch.float64)).to(dtype).requires_grad_()
    grad = torch.randn(x.shape, dtype=torch.float64).to(dtype)
    out, expected = _InstanceNormLeakyReLU.apply(x, 0.01, 1e-5), F.leaky_relu(explicit(x.double()), 0.01)
    torch.testing.assert_close(out.double(), expected, atol=tolerance, rtol=tolerance)
    kept = [t.untyped_storage().data_ptr() for t in out.grad_fn.saved_tensors]
    assert out.untyped_storage().data_ptr() in kept and x.untyped_storage().data_ptr() not in kept
    (ours,), (theirs,) = torch.autograd.grad(out, x, grad), torch.autograd.grad(expected, x, grad.double())
    away = expected.detach().abs() > tolerance  # from the kink, where a rounding changes the slope
    torch.testing.assert_close(ours.double()[away], theirs.double()[away], atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_half_layer_norm_is_the_one_in_float32_and_keeps_half_precision(dtype, learned):
    torch.manual_seed(0)
    x = torch.randn(2, 5, 7).to(dtype).requires_grad_()
    parameters = [torch.randn(7, requires_grad=True) for _ in range(2)] if learned else [None, None]
    given = [x, *parameters] if learned else [x]
    grad = torch.randn(2, 5, 7)
    out, expected = _HalfLayerNorm.apply(x, *parameters, 1e-5), F.layer_norm(x.float(), (7,), *parameters)
    assert torch.equal(out, expected)
    kept = [t for t in out.grad_fn.saved_tensors if t is not None and t.shape == x.shape]
    assert [t.dtype for t in kept] == [dtype]
    for ours, theirs in zip(*(torch.autograd.grad(y, given, grad) for y in (out, expected)), strict=True):
        assert torch.equal(ours, theirs)

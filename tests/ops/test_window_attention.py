"""All implementations of window attention against the explicit product over padded, rolled, masked windows."""

import importlib
import math
from unittest import mock

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from nnunet_reca.ops import crop_map, frame_map, merge_windows, partition_windows, shift_map, shifted_window_mask
from nnunet_reca.ops._kinds_attention import kinds_attention
from nnunet_reca.ops._masked_attention import masked_attention
from nnunet_reca.ops._pieces import window_pieces
from nnunet_reca.ops._pieces_attention import _gradients, _thin_attention, pieces_attention
from nnunet_reca.ops._torch import flash_attention
from nnunet_reca.ops.window_attention import window_attention

HEADS, CHANNELS = 2, 6
GEOMETRIES = {
    "plain": ((6, 10), (3, 5), (0, 0)),
    "plain_padded": ((7, 11), (3, 5), (0, 0)),
    "shifted": ((6, 10), (3, 5), (1, 2)),
    "shifted_padded": ((7, 11), (3, 5), (1, 2)),
    "padding_in_two_windows": ((29,), (7,), (3,)),
    "one_axis_shifted_3d": ((5, 9, 4), (2, 3, 4), (1, 1, 0)),
    "unequal_shifts_3d": ((5, 6, 7), (2, 3, 5), (1, 2, 4)),
    "smaller_than_the_window": ((3, 5), (7, 7), (0, 0)),
    "one_window_shifted_as_others": ((3, 10), (3, 5), (1, 2)),
    "many_beside_two_windows_3d": ((6, 4, 10), (2, 2, 3), (1, 1, 2)),
}
EACH = pytest.mark.parametrize(("spatial", "window", "shift"), GEOMETRIES.values(), ids=GEOMETRIES)

BY_EACH = pytest.mark.parametrize("attend", [masked_attention, kinds_attention, pieces_attention])


def reference(q, k, v, bias, k_pad, v_pad, window, shift):
    """Padded tokens have the projections of a zero token; all windows, all logits, a mask."""
    spatial, padded = k.shape[1:-1], q.shape[1:-1]

    def framed(x, pad):
        whole = pad.expand(x.shape[0], *padded, -1).clone()
        whole[(slice(None), *map(slice, spatial))] = x
        return shift_map(whole, shift)

    maps = (q, framed(k, k_pad), framed(v, v_pad))
    q, k, v = (partition_windows(x, window).unflatten(-1, (HEADS, -1)).transpose(1, 2) for x in maps)
    logits = q @ k.mT * q.shape[-1] ** -0.5 + bias
    mask = shifted_window_mask(padded, window, shift)
    if mask is not None:
        images = logits.unflatten(0, (-1, mask.shape[0]))
        logits = torch.where(mask.unsqueeze(1), images, float("-inf")).flatten(0, 1)
    out = (logits.softmax(-1) @ v).transpose(1, 2).flatten(2)
    return crop_map(shift_map(merge_windows(out, window, padded), [-d for d in shift]), spatial)


def arguments(spatial, window, dtype=torch.float64, batch=2):
    torch.manual_seed(0)
    n = math.prod(window)
    padded = [s + -s % w for s, w in zip(spatial, window, strict=True)]
    return [
        torch.randn(batch, *padded, CHANNELS, dtype=dtype),
        torch.randn(batch, *spatial, CHANNELS, dtype=dtype),
        torch.randn(batch, *spatial, CHANNELS, dtype=dtype),
        torch.randn(HEADS, n, n, dtype=dtype),
        torch.randn(CHANNELS, dtype=dtype),
        torch.randn(CHANNELS, dtype=dtype),
    ]


@EACH
def test_pieces_hold_every_token_once(spatial, window, shift):
    seen = torch.zeros(1, *spatial)
    for piece in window_pieces(spatial, window, shift):
        seen[piece.on_map] += 1
    assert (seen == 1).all()


@BY_EACH
@EACH
def test_output_and_all_gradients_are_those_of_masked_windows(attend, spatial, window, shift):
    inputs = [x.requires_grad_() for x in arguments(spatial, window)]
    out, expected = attend(*inputs, window, shift), reference(*inputs, window, shift)
    torch.testing.assert_close(out, expected)
    grad = torch.randn_like(out)
    # without padding the padded token's key and value take no part
    gradients, wanted = (torch.autograd.grad(y, inputs, grad, materialize_grads=True) for y in (out, expected))
    for ours, theirs in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("shift", [(0, 0), (1, 1)])
def test_gradients_are_those_of_finite_differences(shift):
    inputs = [x.requires_grad_() for x in arguments((3, 4), (2, 3), batch=1)]
    assert torch.autograd.gradcheck(lambda *x: pieces_attention(*x, (2, 3), shift), inputs)


def window_inputs():
    """q, k, v of five windows with 7 queries and 11 keys, and their bias."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(5, HEADS, n, 3, dtype=torch.float64) for n in (7, 11, 11))
    return q, k, v, torch.randn(HEADS, 7, 11, dtype=torch.float64)


def test_thin_and_thick_heads_attend_alike():
    torch.testing.assert_close(_thin_attention(*window_inputs()), flash_attention(*window_inputs()))


def test_gradients_do_not_depend_on_how_many_windows_are_recomputed_at_a_time():
    q, k, v, bias = window_inputs()
    out, log_sum_exp = _thin_attention(q, k, v, bias)
    grad = torch.randn_like(out)
    found = [_gradients(q, k, v, out, grad, log_sum_exp, bias, chunk_size=c) for c in (1, 400, 1 << 20)]
    torch.testing.assert_close(found[0], found[2])
    torch.testing.assert_close(found[1], found[2])


@BY_EACH
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@EACH
def test_lower_precision_stays_close(attend, spatial, window, shift, dtype):
    inputs = arguments(spatial, window)
    low = [x.to(dtype).requires_grad_() for x in inputs]
    high = [x.detach().double().requires_grad_() for x in low]
    out, expected = attend(*low, window, shift), reference(*high, window, shift)
    tolerance = {"atol": 1e-4, "rtol": 1e-4} if dtype == torch.float32 else {"atol": 0.06, "rtol": 0.06}
    torch.testing.assert_close(out, expected.to(dtype), **tolerance)
    gradients = torch.autograd.grad(out.sum(), low, materialize_grads=True)
    wanted = torch.autograd.grad(expected.sum(), high, materialize_grads=True)
    for ours, theirs in zip(gradients, wanted, strict=True):
        assert ours.dtype == dtype
        scale = max(1.0, theirs.abs().max().item())
        torch.testing.assert_close(ours / scale, (theirs / scale).to(dtype), **tolerance)


def test_windows_of_a_kind_share_one_bias():
    """What fused attention is given: no batch axis, and together one bias for each of 2^d kinds at most."""
    seen = []

    def attention(*args, attn_mask):
        seen.append(attn_mask)
        return scaled_dot_product_attention(*args, attn_mask=attn_mask)

    for spatial, calls, kinds in (((12, 20), 4, 4), ((6, 20), 2, 4), ((6, 10), 1, 4)):
        seen.clear()
        with mock.patch.object(torch.nn.functional, "scaled_dot_product_attention", attention):
            kinds_attention(*arguments(spatial, (3, 5)), (3, 5), (1, 2))
        assert len(seen) == calls and all(len(m) == 1 for m in seen)
        assert sum(m.shape[1] for m in seen) == kinds * HEADS


def test_attention_by_kinds_compiles_whole_for_maps_of_any_size_and_exports():
    class Attention(torch.nn.Module):
        def forward(self, *x):
            return kinds_attention(*x, (3,), (1,))

    compiled = torch.compile(Attention(), backend="eager", fullgraph=True)
    for size in (11, 13, 5):  # the second is compiled for a symbol, the last has two windows
        inputs = arguments((size,), (3,))
        expected = kinds_attention(*inputs, (3,), (1,))
        torch.testing.assert_close(compiled(*inputs), expected)
    torch.testing.assert_close(torch.export.export(Attention(), tuple(inputs)).module()(*inputs), expected)


def test_large_biases_of_padding_neither_overflow_nor_vanish():
    inputs, geometry = arguments((4, 4), (3, 3)), ((3, 3), (0, 0))
    for offset in (-200.0, 200.0):
        inputs[3][:, :, 5:] += offset
        torch.testing.assert_close(pieces_attention(*inputs, *geometry), reference(*inputs, *geometry))


def test_nothing_is_kept_without_gradients():
    inputs = arguments((7, 5), (3, 5))
    with torch.inference_mode():
        assert not pieces_attention(*inputs, (3, 5), (1, 0)).requires_grad


@pytest.mark.parametrize(("window", "shift"), [((3, 5), (1, 2)), ((4, 16), (0, 0))])
def test_scale_and_padding_without_projection_biases(window, shift):
    """One window is masked, the other in pieces; the scale is of the logits, padding without biases is 0."""
    q, k, v, bias, *_ = arguments((7, 17), window)
    scale = 0.3
    zero = torch.zeros(CHANNELS, dtype=torch.float64)
    expected = reference(q * (scale * (CHANNELS // HEADS) ** 0.5), k, v, bias, zero, zero, window, shift)
    out = window_attention(q, k, v, bias, padding=(None, None), window=window, shift=shift, scale=scale)
    torch.testing.assert_close(out, expected)


def test_the_frame_is_padded_then_rolled():
    x = torch.arange(5.0).view(1, 5, 1)
    assert frame_map(x, (3,), (1,), torch.tensor([9.0])).flatten().tolist() == [1, 2, 3, 4, 9, 0]
    assert frame_map(x, (3,), (0,)).flatten().tolist() == [0, 1, 2, 3, 4, 0]


def test_each_device_has_its_implementation():
    """Pieces for large windows on the CPU outside of compiled graphs, kinds for them elsewhere."""
    chosen = importlib.import_module("nnunet_reca.ops.window_attention")._implementation
    assert chosen(torch.empty(1), (8, 8)) is pieces_attention and chosen(torch.empty(1), (7, 7)) is masked_attention
    elsewhere = torch.empty(1, device="meta")
    assert chosen(elsewhere, (7, 7, 7)) is kinds_attention and chosen(elsewhere, (7, 7)) is masked_attention
    seen = []
    torch.compile(lambda x: seen.append(chosen(x, (8, 8)).__name__) or x + 1, backend="eager")(torch.empty(1))
    assert seen == ["masked_attention"]

"""Attention in pieces against padding, rolling, cutting windows and masking."""

import math

import pytest
import torch

from nnunet_reca.ops import (
    Windows,
    attends_in_pieces,
    crop_map,
    merge_windows,
    partition_windows,
    piece_attention,
    shift_map,
    shifted_window_mask,
    window_pieces,
    window_recurrent_attention,
)

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
}
EACH = pytest.mark.parametrize(("spatial", "window", "shift"), GEOMETRIES.values(), ids=GEOMETRIES)


def reference(q, k, v, bias, k_pad, v_pad, windows):
    """Padded tokens have the projections of a zero token; all windows, all logits, a mask."""
    spatial, padded = k.shape[1:-1], q.shape[1:-1]

    def framed(x, pad):
        whole = pad.expand(x.shape[0], *padded, -1).clone()
        whole[(slice(None), *map(slice, spatial))] = x
        return shift_map(whole, windows.shift)

    maps = (q, framed(k, k_pad), framed(v, v_pad))
    parts = [partition_windows(x, windows.window).unflatten(-1, (HEADS, -1)).transpose(1, 2) for x in maps]
    mask = shifted_window_mask(padded, windows.window, windows.shift)
    out, _ = window_recurrent_attention(*parts, bias=bias, mask=mask)
    out = merge_windows(out, windows.window, padded)
    return crop_map(shift_map(out, [-d for d in windows.shift]), spatial)


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


@EACH
def test_output_and_all_gradients_are_those_of_masked_windows(spatial, window, shift):
    inputs = [x.requires_grad_() for x in arguments(spatial, window)]
    windows = Windows(HEADS, window, shift)
    out, expected = piece_attention(*inputs, windows), reference(*inputs, windows)
    torch.testing.assert_close(out, expected)
    grad = torch.randn_like(out)
    # without padding the padded token's key and value take no part
    gradients = torch.autograd.grad(out, inputs, grad)
    wanted = torch.autograd.grad(expected, inputs, grad, materialize_grads=True)
    for ours, theirs in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("shift", [(0, 0), (1, 1)])
def test_gradients_are_those_of_finite_differences(shift):
    inputs = [x.requires_grad_() for x in arguments((3, 4), (2, 3), batch=1)]
    assert torch.autograd.gradcheck(lambda *x: piece_attention(*x, Windows(HEADS, (2, 3), shift)), inputs)


@EACH
def test_thin_and_thick_heads_attend_alike(spatial, window, shift, monkeypatch):
    inputs = arguments(spatial, window)
    outputs = []
    for thin in (0, CHANNELS):
        monkeypatch.setattr("nnunet_reca.ops.cpu_attention.THIN", thin)
        outputs.append(piece_attention(*inputs, Windows(HEADS, window, shift)))
    torch.testing.assert_close(outputs[0], outputs[1])


def test_gradients_do_not_depend_on_how_many_windows_are_recomputed_at_a_time(monkeypatch):
    spatial, window, shift = GEOMETRIES["unequal_shifts_3d"]
    inputs = [x.requires_grad_() for x in arguments(spatial, window)]
    gradients = []
    for chunk in (1, 3000, 1 << 20):
        monkeypatch.setattr("nnunet_reca.ops.cpu_attention.CHUNK", chunk)
        out = piece_attention(*inputs, Windows(HEADS, window, shift))
        gradients.append(torch.autograd.grad(out.square().sum(), inputs))
    torch.testing.assert_close(gradients[0], gradients[2])
    torch.testing.assert_close(gradients[1], gradients[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@EACH
def test_lower_precision_stays_close(spatial, window, shift, dtype):
    inputs = arguments(spatial, window)
    low = [x.to(dtype).requires_grad_() for x in inputs]
    high = [x.detach().double().requires_grad_() for x in low]
    windows = Windows(HEADS, window, shift)
    out, expected = piece_attention(*low, windows), reference(*high, windows)
    tolerance = {"atol": 1e-4, "rtol": 1e-4} if dtype == torch.float32 else {"atol": 0.06, "rtol": 0.06}
    torch.testing.assert_close(out, expected.to(dtype), **tolerance)
    gradients = torch.autograd.grad(out.sum(), low)
    wanted = torch.autograd.grad(expected.sum(), high, materialize_grads=True)
    for ours, theirs in zip(gradients, wanted, strict=True):
        assert ours.dtype == dtype
        scale = max(1.0, theirs.abs().max().item())
        torch.testing.assert_close(ours / scale, (theirs / scale).to(dtype), **tolerance)


def test_large_biases_of_padding_neither_overflow_nor_vanish():
    inputs = arguments((4, 4), (3, 3))
    windows = Windows(HEADS, (3, 3), (0, 0))
    for offset in (-200.0, 200.0):
        inputs[3][:, :, 5:] += offset
        torch.testing.assert_close(piece_attention(*inputs, windows), reference(*inputs, windows))


def test_nothing_is_kept_without_gradients():
    inputs = arguments((7, 5), (3, 5))
    with torch.inference_mode():
        assert not piece_attention(*inputs, Windows(HEADS, (3, 5), (1, 0))).requires_grad


def test_pieces_serve_the_cpu_only():
    assert attends_in_pieces(torch.empty(1), (7, 7, 7))
    assert not attends_in_pieces(torch.empty(1, device="meta"), (7, 7, 7))


def test_small_windows_are_masked_whole():
    assert attends_in_pieces(torch.empty(1), (8, 8))
    assert not attends_in_pieces(torch.empty(1), (7, 7))

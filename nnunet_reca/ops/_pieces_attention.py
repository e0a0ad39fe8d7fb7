"""Window attention on the CPU, piece by piece: no padded query, no mask, no stored attention matrix.

The result is that of padding, shifting, cutting windows and masking (:func:`masked_attention`); what is left out are
logits that the mask removes and queries that are cropped. Padded tokens are all alike before attention, so that
those which a window sees are one key, whose bias is the log-sum-exp of their biases.

The fused attention of PyTorch gives no gradient of the bias on the CPU. Here the backward pass recomputes the attention
of a few windows at a time from the stored log-sum-exp (FlashAttention, Dao et al. 2022, algorithm 4).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nnunet_reca.ops._pieces import Piece, window_pieces
from nnunet_reca.ops._torch import HAS_FLASH_ATTENTION, flash_attention
from nnunet_reca.ops.windows import merge_windows, partition_windows

#: Attention weights computed at a time: few enough for a processor's cache.
CHUNK = 1 << 20
#: Channels of a head from which the fused kernel is the faster forward pass.
THIN = 16
#: exp(x) = 2 ** (TO_BASE_2 * x)
TO_BASE_2 = math.log2(math.e)


@dataclass(frozen=True)
class _Windows:
    """Heads, window and shift of a window attention."""

    num_heads: int
    window: tuple[int, ...]
    shift: tuple[int, ...]

    def pieces(self, spatial: Sequence[int]) -> tuple[Piece, ...]:
        return window_pieces(tuple(spatial), self.window, self.shift)


def pieces_attention(
    query: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    k_pad: Tensor,
    v_pad: Tensor,
    window: Sequence[int],
    shift: Sequence[int],
) -> Tensor:
    """softmax(head_dim^-0.5 query k^T + bias) v in windows; arguments of :func:`nnunet_reca.ops.window_attention`."""
    windows = _Windows(bias.shape[0], tuple(window), tuple(shift))
    with torch.autocast("cpu", enabled=False):  # the dtypes are chosen here
        return _PieceAttention.apply(query, k, v, bias, k_pad, v_pad, windows)


class _PieceAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, k_pad: Tensor, v_pad: Tensor, windows: _Windows
    ) -> Tensor:
        out = k.new_empty(k.shape)
        bias = bias.to(q.dtype)
        sums = []
        for piece in windows.pieces(k.shape[1:-1]):
            attended, log_sum_exp = _attention(
                _heads(_small_windows(q[piece.on_frame], piece), windows),
                _heads(_small_windows(k[piece.on_map], piece, k_pad), windows),
                _heads(_small_windows(v[piece.on_map], piece, v_pad), windows),
                _piece_bias(bias, piece, windows),
            )
            out[piece.on_map] = _box(attended.transpose(1, 2).flatten(2), piece)
            sums.append(log_sum_exp)
        ctx.save_for_backward(q, k, v, bias, k_pad, v_pad, out, *sums)
        ctx.windows = windows
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast("cpu", enabled=False):  # a backward pass may be called inside of one
            return _backward(ctx, grad)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    q, k, v, bias, k_pad, v_pad, out, *sums = ctx.saved_tensors
    windows: _Windows = ctx.windows
    wide = torch.promote_types(q.dtype, torch.float32)
    bias = bias.to(wide)
    dq, dk, dv, dbias = torch.zeros_like(q), torch.empty_like(k), torch.empty_like(v), torch.zeros_like(bias)
    dk_pad, dv_pad = (torch.zeros_like(pad, dtype=wide) for pad in (k_pad, v_pad))

    def heads(box: Tensor, piece: Piece, pad: Tensor | None = None) -> Tensor:
        return _heads(_small_windows(box, piece, pad), windows).to(wide)

    for piece, log_sum_exp in zip(windows.pieces(k.shape[1:-1]), sums, strict=True):
        *grads, dpiece = _gradients(
            heads(q[piece.on_frame], piece),
            heads(k[piece.on_map], piece, k_pad),
            heads(v[piece.on_map], piece, v_pad),
            heads(out[piece.on_map], piece),
            heads(grad[piece.on_map], piece),
            log_sum_exp.to(wide),
            _piece_bias(bias, piece, windows),
        )
        gq, gk, gv = (g.transpose(1, 2).flatten(2) for g in grads)
        n = gq.shape[1]
        dq[piece.on_frame] = _box(gq, piece).to(q.dtype)
        dk[piece.on_map] = _box(gk[:, :n], piece).to(q.dtype)
        dv[piece.on_map] = _box(gv[:, :n], piece).to(q.dtype)
        dk_pad += gk[:, n:].sum((0, 1))
        dv_pad += gv[:, n:].sum((0, 1))
        _add_piece_bias(dbias, dpiece, bias, piece, windows)
    return dq, dk, dv, dbias, dk_pad.to(k_pad.dtype), dv_pad.to(v_pad.dtype), None


def _heads(tokens: Tensor, windows: _Windows) -> Tensor:
    """(small windows, n, C) -> (small windows, heads, n, head_dim)."""
    return tokens.unflatten(-1, (windows.num_heads, -1)).transpose(1, 2)


def _small_windows(box: Tensor, piece: Piece, pad: Tensor | None = None) -> Tensor:
    """Box of a map -> small windows, (B * count, n, C), and one token more for the padding they see."""
    tokens = partition_windows(box, piece.tokens)
    if pad is None or not piece.has_padding:
        return tokens
    return torch.cat([tokens, pad.expand(tokens.shape[0], 1, -1)], dim=1)


def _box(tokens: Tensor, piece: Piece) -> Tensor:
    """Small windows, (B * count, n, C) -> box of a map."""
    return merge_windows(tokens, piece.tokens, [r.count * r.tokens for r in piece.runs])


def _regions(bias: Tensor, piece: Piece, windows: _Windows) -> Tensor:
    """View of a bias: the piece's queries and all keys of their region, (heads, *tokens, *(tokens + padded))."""
    window = tuple(windows.window)
    part = (slice(None), *piece.in_window, *piece.region_in_window)
    return bias.unflatten(2, window).unflatten(1, window)[part]


def _padding_bias(bias: Tensor, piece: Piece, windows: _Windows) -> Tensor:
    """Bias of the padding that the piece's queries see, (heads, n, keys of the region); -inf at tokens."""
    padding = _regions(bias, piece, windows).clone()
    piece.first_tokens(padding).fill_(float("-inf"))
    return padding.reshape(bias.shape[0], math.prod(piece.tokens), -1)


def _piece_bias(bias: Tensor, piece: Piece, windows: _Windows) -> Tensor:
    """Bias of a piece, (heads, n, n), or (heads, n, n + 1) with the key that stands for the padding."""
    n = math.prod(piece.tokens)
    real = piece.first_tokens(_regions(bias, piece, windows)).reshape(-1, n, n)
    if not piece.has_padding:
        return real
    padding = _padding_bias(bias, piece, windows)
    # the log-sum-exp by way of the last key, which is padding: torch.logsumexp takes several times longer on the CPU
    log_sum_exp = padding[..., -1:] - padding.log_softmax(-1)[..., -1:]
    return torch.cat([real, log_sum_exp], dim=-1)


def _add_piece_bias(total: Tensor, grad: Tensor, bias: Tensor, piece: Piece, windows: _Windows) -> None:
    """Add the gradient of :func:`_piece_bias` to the gradient of the whole bias."""
    n = math.prod(piece.tokens)
    regions = _regions(total, piece, windows)
    if piece.has_padding:
        weights = _padding_bias(bias, piece, windows).softmax(-1)
        regions += (grad[..., n:] * weights).view(regions.shape)
    real = piece.first_tokens(regions)
    real += grad[..., :n].view(real.shape)


def _attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Attention with one bias for all windows, and the log-sum-exp of the logits, (windows, heads, n).

    Arguments as of :func:`_gradients`. Thin heads take two thirds of the fused kernel's time by themselves.
    """
    fused = HAS_FLASH_ATTENTION and q.shape[-1] >= THIN
    return (flash_attention if fused else _thin_attention)(q, k, v, bias)


def _thin_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """By the means of :func:`_gradients`: powers of two, and the sum of weights as one channel more of the values."""
    total, heads, n, d = q.shape
    m = k.shape[2]
    wide = torch.promote_types(q.dtype, torch.float32)
    values = torch.cat([v, v.new_ones(total, heads, m, 1)], dim=-1).to(wide).flatten(0, 1)
    queries, keys = (q.to(wide) * (d**-0.5 * TO_BASE_2)).flatten(0, 1), k.to(wide).flatten(0, 1)
    bias_2 = bias.to(wide) * TO_BASE_2
    out = queries.new_empty(total * heads, d + 1, n)
    largest = queries.new_empty(total * heads, n, 1)
    step = heads * max(1, CHUNK // (heads * n * m))
    for i in range(0, total * heads, step):
        chunk = slice(i, i + step)
        weights = queries[chunk] @ keys[chunk].mT
        weights.view(-1, heads, n, m).add_(bias_2)
        torch.amax(weights, -1, keepdim=True, out=largest[chunk])
        weights.sub_(largest[chunk]).exp2_()
        torch.bmm(values[chunk].mT, weights.mT, out=out[chunk])
    sums = out[:, -1:]
    log_sum_exp = (largest.squeeze(-1) + sums.squeeze(1).log2()) / TO_BASE_2
    attended = (out[:, :-1] / sums).mT.to(q.dtype)
    return attended.unflatten(0, (total, heads)), log_sum_exp.unflatten(0, (total, heads))


def _gradients(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    grad: Tensor,
    log_sum_exp: Tensor,
    bias: Tensor,
    *,
    chunk_size: int = CHUNK,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of attention with one bias for all windows, a few windows at a time.

    With p = exp(scale q k^T + bias - log_sum_exp) and ds = p (grad v^T - sum(grad out)): dq = scale ds k,
    dk = scale ds^T q, dv = p^T grad, dbias = sum of ds over the windows.

    Three things make it fast, as measured: both differences are taken inside the matrix products, by one channel more;
    powers of two cost a quarter of exp; the thin products are written with the channels as rows.

    Args:
        q: (windows, heads, n, head_dim); out and grad alike, k and v with m tokens.
        log_sum_exp: of the logits, (windows, heads, n).
        bias: (heads, n, m).
        chunk_size: attention weights computed at a time.
    """
    total, heads, n, d = q.shape
    m = k.shape[2]
    scale = d**-0.5
    ones = k.new_ones(total, heads, m, 1)
    q = torch.cat([q * (scale * TO_BASE_2), log_sum_exp.unsqueeze(-1) * -TO_BASE_2], dim=-1)
    grad = torch.cat([grad, -(grad * out).sum(-1, keepdim=True)], dim=-1)
    k, v = torch.cat([k, ones], dim=-1), torch.cat([v, ones], dim=-1)
    q, k, v, grad = (x.flatten(0, 1) for x in (q, k, v, grad))
    dq, dk, dv = (x.new_empty(total * heads, d + 1, x.shape[1]) for x in (q, k, v))
    bias_2, dbias = bias * TO_BASE_2, torch.zeros_like(bias)
    step = heads * max(1, chunk_size // (heads * n * m))
    for i in range(0, total * heads, step):
        chunk = slice(i, i + step)
        weights = q[chunk] @ k[chunk].mT
        weights.view(-1, heads, n, m).add_(bias_2)
        weights.exp2_()
        torch.bmm(grad[chunk].mT, weights, out=dv[chunk])
        logits = grad[chunk] @ v[chunk].mT
        logits.mul_(weights)
        dbias += logits.view(-1, heads, n, m).sum(0)
        torch.bmm(k[chunk].mT, logits.mT, out=dq[chunk])
        torch.bmm(q[chunk].mT, logits, out=dk[chunk])
    dq, dk, dv = (x[:, :-1].mT.unflatten(0, (total, heads)) for x in (dq, dk, dv))
    return dq * scale, dk / TO_BASE_2, dv, dbias

"""Recurrent-Attention (RecA): attention whose query is the running sum of the queries of the layers before.

For attention layer i of a chain, with projections q_i, k_i, v_i of its input::

    q_hat_i = q_i + q_hat_{i-1}                                (q_hat_0 = 0)
    out_i   = softmax(scale * q_hat_i k_i^T + bias) v_i

The sum is neither scaled, gated nor detached, and costs no parameter. Self-attention is the same computation with the
carry dropped (``q_hat=None``). Source: "Recurrent-Attention: A robust neural network operator for medical image
segmentation", reference code CAU-COE-VEICLab/Recurrent-Attention.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def carry_query(q: Tensor, q_hat: Tensor | None) -> Tensor:
    """q + q_hat, or q at the start of a chain; this is the only place where the carry is added.

    The sum of half-precision queries is kept in float32: it neither overflows in deep chains nor loses digits.
    """
    if q_hat is None:
        return q
    return (q.float() if q.dtype in (torch.float16, torch.bfloat16) else q) + q_hat


def attention_query(q_hat: Tensor, dtype: torch.dtype) -> Tensor:
    """The carry as a query in ``dtype``, that of keys and values; what lies beyond float16's range is clamped to it."""
    if dtype == torch.float16 and q_hat.dtype != dtype:
        limit = torch.finfo(dtype).max
        q_hat = q_hat.clamp(-limit, limit)
    return q_hat.to(dtype)


def recurrent_attention(
    q: Tensor, k: Tensor, v: Tensor, q_hat: Tensor | None = None, *, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """One layer of Recurrent-Attention.

    Args:
        q: query, (..., N, head_dim).
        k: key, (..., M, head_dim).
        v: value, (..., M, head_dim).
        q_hat: carry of the layer before, shaped like ``q``; None starts a chain (plain self-attention).
        bias: added to the logits, broadcastable to (..., N, M); -inf removes a key.

    Returns:
        The attended values, (..., N, head_dim), and the carry for the next layer, shaped like ``q`` (float32 where
        ``q`` is float16 or bfloat16 and a carry came in).
        The logits are scaled by head_dim^-0.5 after the sum.
    """
    q_hat = carry_query(q, q_hat)
    return F.scaled_dot_product_attention(attention_query(q_hat, k.dtype), k, v, attn_mask=bias), q_hat


def window_recurrent_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_hat: Tensor | None = None,
    *,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Recurrent-Attention inside windows; the carry passes by window index (RecA-H).

    Args:
        q: query, (batch * windows, heads, N, head_dim), windows of one image being consecutive; k and v alike.
        k: key.
        v: value.
        q_hat: carry, shaped like ``q``, or None at the start of a stage.
        bias: relative-position bias, (heads, N, N).
        mask: True where a token may attend to another, (windows, N, N); None where all may.

    Returns:
        Tokens with their heads joined, (batch * windows, N, heads * head_dim), and the carry, shaped like ``q``.
    """
    out, q_hat = recurrent_attention(q, k, v, q_hat, bias=attention_bias(bias, mask, q.shape[0]))
    return out.transpose(1, 2).flatten(2), q_hat


def split_heads(x: Tensor, num_heads: int, *, parts: int = 1) -> tuple[Tensor, ...]:
    """(B, N, parts * heads * head_dim) -> ``parts`` tensors of (B, heads, N, head_dim)."""
    b, n, width = x.shape
    return x.view(b, n, parts, num_heads, width // (parts * num_heads)).permute(2, 0, 3, 1, 4).unbind(0)


def attention_bias(bias: Tensor | None, mask: Tensor | None, batch_windows: int) -> Tensor | None:
    """Join relative-position bias and shifted-window mask into one additive bias.

    Args:
        bias: (heads, N, N) or None.
        mask: (windows, N, N), True where attention is allowed, or None.
        batch_windows: batch * windows.

    Returns:
        (1 or batch * windows, heads or 1, N, N), or None where there is nothing to add.
    """
    if mask is None:
        return None if bias is None else bias.unsqueeze(0)
    if bias is None:
        bias = torch.zeros((), dtype=torch.float32, device=mask.device)
    joined = torch.where(mask.unsqueeze(1), bias, float("-inf"))
    repeats = batch_windows // mask.shape[0]
    return joined if repeats == 1 else joined.repeat(repeats, 1, 1, 1)

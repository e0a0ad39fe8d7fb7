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
        return q_hat.to(dtype).clamp(-limit, limit)  # infinities; a clamp keeps its input, which is half as large here
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


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """(B, N, heads * head_dim) -> (B, heads, N, head_dim)."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """Inverse of :func:`split_heads`: (B, heads, N, head_dim) -> (B, N, heads * head_dim)."""
    return x.transpose(1, 2).flatten(2)

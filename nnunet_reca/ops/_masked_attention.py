"""Window attention by padding, rolling, cutting windows and masking, as in Swin Transformer."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from nnunet_reca.ops.recurrent_attention import join_heads, split_heads
from nnunet_reca.ops.windows import (
    crop_map,
    frame_map,
    merge_windows,
    partition_windows,
    shift_map,
    shifted_window_mask,
)


def masked_attention(
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
    spatial, padded, heads = k.shape[1:-1], query.shape[1:-1], bias.shape[0]

    def in_windows(frame: Tensor) -> Tensor:
        return split_heads(partition_windows(frame, window), heads)

    k, v = frame_map(k, window, shift, k_pad), frame_map(v, window, shift, v_pad)
    mask = shifted_window_mask(padded, window, shift, device=k.device)
    out = attend_in_windows(in_windows(query), in_windows(k), in_windows(v), bias.to(k.dtype), mask)
    frame = merge_windows(join_heads(out), window, padded)
    return crop_map(shift_map(frame, [-d for d in shift]), spatial)


def attend_in_windows(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, mask: Tensor | None) -> Tensor:
    """Attention in windows that lie one after the other.

    Args:
        q: query, (batch * windows, heads, N, head_dim), windows of one image being consecutive; k and v alike.
        k: key.
        v: value.
        bias: (heads, N, N).
        mask: True where a token may attend to another, (windows, N, N); None where all may.

    Returns:
        Attended values, (batch * windows, heads, N, head_dim).
    """
    joined = bias.unsqueeze(0)
    if mask is not None:
        joined = torch.where(mask.unsqueeze(1), bias, float("-inf"))
        repeats = q.shape[0] // mask.shape[0]
        joined = joined if repeats == 1 else joined.repeat(repeats, 1, 1, 1)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=joined)

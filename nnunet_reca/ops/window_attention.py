"""Attention inside the windows of a token map: the one place that decides how it is computed.

Every implementation gives the same result; keys, values and the result lie on the map, queries on its *frame*: the map
padded at its end to a multiple of the window and rolled towards the origin by the shift, so that windows are boxes of
the frame.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nnunet_reca.ops._kinds_attention import kinds_attention
from nnunet_reca.ops._masked_attention import masked_attention
from nnunet_reca.ops._pieces_attention import pieces_attention
from nnunet_reca.ops.recurrent_attention import attention_query
from nnunet_reca.ops.slabs import infers_on_cpu

#: Tokens of a window below which a mask for each window costs a training less than pieces, or kinds of windows.
SMALL_WINDOW = 64


def window_attention(
    query: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    *,
    padding: tuple[Tensor | None, Tensor | None],
    window: Sequence[int],
    shift: Sequence[int],
    scale: float | None = None,
) -> Tensor:
    """softmax(scale * query k^T + bias) v in windows; after a shift only tokens that were neighbours see each other.

    Args:
        query: on the frame, (B, *padded, C); projected on the map, then see :func:`frame_map`.
        k: key, on the map, (B, *S, C).
        v: value, on the map, (B, *S, C).
        bias: relative-position bias of a window, (heads, N, N).
        padding: key and value of a padded token, (C,) each, which takes part in attention; None is zero.
        window: window size, no larger than the padded map; N is its product.
        shift: shift of the windows, less than the window.
        scale: of the logits; default head_dim^-0.5.

    Returns:
        Attended values on the map, (B, *S, C).
    """
    if scale is not None:  # the implementations scale by head_dim^-0.5
        query = query * (scale * (k.shape[-1] // bias.shape[0]) ** 0.5)
    query = attention_query(query, k.dtype)
    k_pad, v_pad = (k.new_zeros(k.shape[-1]) if p is None else p.to(k.dtype) for p in padding)
    return _implementation(k, window)(query, k, v, bias, k_pad, v_pad, window, shift)


def _implementation(x: Tensor, window: Sequence[int]) -> Callable[..., Tensor]:
    """Pieces on the CPU, kinds of windows elsewhere; masks for small windows, and for graphs of the CPU.

    A graph that is compiled or exported would record each piece. Inference on the CPU takes pieces of small windows,
    too: without a shift in 0.6 of the time, with one in no more.
    """
    on_cpu = x.device.type == "cpu"
    if (math.prod(window) < SMALL_WINDOW and not infers_on_cpu(x)) or (on_cpu and torch.compiler.is_compiling()):
        return masked_attention
    return pieces_attention if on_cpu else kinds_attention

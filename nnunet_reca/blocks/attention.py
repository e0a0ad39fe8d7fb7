"""Window attention with a relative-position bias: with a carry on one token map, and across two token maps."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from nnunet_reca.blocks.checks import check_heads
from nnunet_reca.ops import (
    bias_table_rows,
    frame_map,
    relative_position_index,
    window_attention,
)
from nnunet_reca.ops.relative_position import IndexScheme

#: A chain's carry in one of its layers: (own query, state) -> (query, state), see :mod:`nnunet_reca.blocks.carry`.
LayerCarry = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor | None]]


def no_carry(q: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Self-attention outside of a chain."""
    return q, None


class RelativePositionBias(nn.Module):
    """Base of the window attentions: checks the heads and gathers B[query, key] = table[index[query, key]].

    Args:
        dim: channels.
        num_heads: heads; divides ``dim``.
        window_size: largest window; the bias table has one row per relative offset in it.
        scale: of the logits; default head_dim^-0.5.
        index_scheme: how a pair of tokens finds its row, see :func:`relative_position_index`.
    """

    relative_position_index: Tensor
    #: parameters that are never decayed, as in Swin Transformer
    no_weight_decay = ("relative_position_bias_table",)

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: Sequence[int],
        *,
        scale: float | None = None,
        index_scheme: IndexScheme = "exact",
    ) -> None:
        super().__init__()
        check_heads(dim, num_heads)
        if any(w < 1 for w in window_size):
            raise ValueError(f"expected window sides of at least 1, got {tuple(window_size)}; change window_size")
        self.num_heads = num_heads
        self.window_size = tuple(window_size)
        self.scale = scale
        self.index_scheme: IndexScheme = index_scheme
        self.relative_position_bias_table = nn.Parameter(torch.zeros(bias_table_rows(window_size), num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        index = relative_position_index(window_size, scheme=index_scheme)
        self.register_buffer("relative_position_index", index, persistent=False)

    def relative_position_bias(self, window: Sequence[int] | None = None) -> Tensor:
        """Bias of a window no larger than ``window_size``, (heads, N, N)."""
        index = self.relative_position_index
        if window is not None and tuple(window) != self.window_size:
            index = relative_position_index(window, self.window_size, scheme=self.index_scheme, device=index.device)
        n = index.shape[0]
        return self.relative_position_bias_table[index.flatten()].view(n, n, -1).permute(2, 0, 1)

    def attend(
        self,
        query: Tensor,
        k: Tensor,
        v: Tensor,
        padding: tuple[Tensor | None, Tensor | None],
        window: Sequence[int],
        shift: Sequence[int],
    ) -> Tensor:
        """:func:`nnunet_reca.ops.window_attention` with this module's bias and scale."""
        bias = self.relative_position_bias(window)
        return window_attention(query, k, v, bias, padding=padding, window=window, shift=shift, scale=self.scale)


class WindowAttention(RelativePositionBias):
    """Multi-head attention in windows: softmax(scale * query k^T + B) v, then a projection; a carry makes the query.

    Source: Swin Transformer (Liu et al. 2021) for the bias, the RecA paper for the carry.

    Args:
        qkv_bias: whether the projections of query, key and value have biases.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: Sequence[int],
        *,
        qkv_bias: bool = True,
        scale: float | None = None,
        index_scheme: IndexScheme = "exact",
    ) -> None:
        super().__init__(dim, num_heads, window_size, scale=scale, index_scheme=index_scheme)
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def project(
        self, x: Tensor, state: Tensor | None, carry: LayerCarry, window: Sequence[int], shift: Sequence[int]
    ) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor | None, Tensor | None], Tensor | None]:
        """Query on the frame, key and value on the map, key and value of a padded token, and the carry's state."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q_pad, k_pad, v_pad = (None,) * 3 if self.qkv.bias is None else self.qkv.bias.to(q.dtype).chunk(3)
        query, state = carry(frame_map(q, window, shift, q_pad), state)
        return query, k, v, (k_pad, v_pad), state

    def forward(
        self,
        x: Tensor,
        state: Tensor | None = None,
        carry: LayerCarry = no_carry,
        *,
        window: Sequence[int] | None = None,
        shift: Sequence[int] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """
        Args:
            x: token map, (B, *spatial, dim).
            state: of the carry, for every token of the frame, (B, *padded, dim), or None.
            carry: makes the query, and the state for the next layer, of the layer's own query on the frame.
            window: window in use, default ``window_size``.
            shift: shift of the windows, default none.

        Returns:
            Token map, (B, *spatial, dim), and the carry's state, (B, *padded, dim) or None.
        """
        window = self.window_size if window is None else window
        shift = [0] * len(window) if shift is None else shift
        query, k, v, padding, state = self.project(x, state, carry, window, shift)
        return self.proj(self.attend(query, k, v, padding, window, shift)), state


class WindowCrossAttention(RelativePositionBias):
    """Multi-head attention from one token map to another in windows: softmax(scale * q k^T + B) v, then a projection.

    The query is taken as it is, without a projection; keys and values are projected from the other map. No carry.
    Source: nnFormer (Zhou et al. 2023), "skip attention" of its decoder.

    Args:
        qkv_bias: whether the projections of key and value have biases.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: Sequence[int],
        *,
        qkv_bias: bool = True,
        scale: float | None = None,
        index_scheme: IndexScheme = "exact",
    ) -> None:
        super().__init__(dim, num_heads, window_size, scale=scale, index_scheme=index_scheme)
        self.kv = nn.Linear(dim, 2 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, query: Tensor, context: Tensor, *, window: Sequence[int] | None = None) -> Tensor:
        """
        Args:
            query: tokens that ask, (B, *spatial, dim).
            context: tokens that are looked at, (B, *spatial, dim).
            window: window in use, default ``window_size``; not shifted.

        Returns:
            Token map, (B, *spatial, dim).
        """
        window = self.window_size if window is None else window
        shift = [0] * len(window)
        k, v = self.kv(context).chunk(2, dim=-1)
        k_pad, v_pad = (None,) * 2 if self.kv.bias is None else self.kv.bias.to(k.dtype).chunk(2)
        return self.proj(self.attend(frame_map(query, window, shift), k, v, (k_pad, v_pad), window, shift))

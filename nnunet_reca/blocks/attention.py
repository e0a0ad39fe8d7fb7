"""Window attention with a relative-position bias: recurrent when handed a carry, and across two token maps."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nnunet_reca.blocks.checks import check_heads
from nnunet_reca.ops import (
    Windows,
    attention_query,
    bias_table_rows,
    carry_query,
    pad_to_multiple,
    piece_attention,
    relative_position_index,
    shift_map,
    split_heads,
    window_recurrent_attention,
)
from nnunet_reca.ops.relative_position import IndexScheme


class RelativePositionBias(nn.Module):
    """Base of the window attentions: checks the heads and gathers B[query, key] = table[index[query, key]].

    Args:
        dim: channels.
        num_heads: heads; divides ``dim``.
        window_size: largest window; the bias table has one row per relative offset in it.
        index_scheme: how a pair of tokens finds its row, see :func:`relative_position_index`.
    """

    relative_position_index: Tensor

    def __init__(
        self, dim: int, num_heads: int, window_size: Sequence[int], *, index_scheme: IndexScheme = "exact"
    ) -> None:
        super().__init__()
        check_heads(dim, num_heads)
        if any(w < 1 for w in window_size):
            raise ValueError(f"expected window sides of at least 1, got {tuple(window_size)}; change window_size")
        self.num_heads = num_heads
        self.window_size = tuple(window_size)
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


class WindowAttention(RelativePositionBias):
    """Multi-head Recurrent-Attention in windows: softmax(scale * (q + q_hat) k^T + B) v, then a projection.

    Source: Swin Transformer (Liu et al. 2021) for the bias, the RecA paper for the carry.
    """

    def __init__(
        self, dim: int, num_heads: int, window_size: Sequence[int], *, index_scheme: IndexScheme = "exact"
    ) -> None:
        super().__init__(dim, num_heads, window_size, index_scheme=index_scheme)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(
        self,
        x: Tensor,
        q_hat: Tensor | None = None,
        *,
        window: Sequence[int] | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """
        Args:
            x: tokens, (batch * windows, N, dim), windows of one image being consecutive.
            q_hat: carry of the layer before, (batch * windows, heads, N, head_dim), or None.
            window: window in use, default ``window_size``; N is its product.
            mask: True where attention is allowed, (windows, N, N), or None.

        Returns:
            Tokens, (batch * windows, N, dim), and the carry, (batch * windows, heads, N, head_dim).
        """
        q, k, v = split_heads(self.qkv(x), self.num_heads, parts=3)
        bias = self.relative_position_bias(window).to(q.dtype)
        out, q_hat = window_recurrent_attention(q, k, v, q_hat, bias=bias, mask=mask)
        return self.proj(out), q_hat

    def on_map(
        self, x: Tensor, q_hat: Tensor | None, window: Sequence[int], shift: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """The same on a map that is neither padded, shifted nor cut, see :func:`nnunet_reca.ops.piece_attention`.

        Args:
            x: token map, (B, *spatial, dim).
            q_hat: carry of the layer before, padded and shifted like the windows, (B, *padded, dim), or None.
            window: window in use.
            shift: shift of the windows.

        Returns:
            Token map, (B, *spatial, dim), and the carry, (B, *padded, dim).
        """
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q_pad, k_pad, v_pad = self.qkv.bias.to(q.dtype).chunk(3)
        q_hat = carry_query(shift_map(pad_to_multiple(q, window, q_pad), shift), q_hat)
        bias = self.relative_position_bias(window)
        query = attention_query(q_hat, k.dtype)
        out = piece_attention(query, k, v, bias, k_pad, v_pad, Windows(self.num_heads, window, shift))
        return self.proj(out), q_hat


class WindowCrossAttention(RelativePositionBias):
    """Multi-head attention from one token map to another in windows: softmax(scale * q k^T + B) v, then a projection.

    The query is taken as it is, without a projection; keys and values are projected from the other map. No carry.
    Source: nnFormer (Zhou et al. 2023), "skip attention" of its decoder.
    """

    def __init__(
        self, dim: int, num_heads: int, window_size: Sequence[int], *, index_scheme: IndexScheme = "exact"
    ) -> None:
        super().__init__(dim, num_heads, window_size, index_scheme=index_scheme)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(
        self, query: Tensor, context: Tensor, *, window: Sequence[int] | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """
        Args:
            query: tokens that ask, (batch * windows, N, dim).
            context: tokens that are looked at, (batch * windows, N, dim).
            window: window in use, default ``window_size``.
            mask: True where attention is allowed, (windows, N, N), or None.

        Returns:
            Tokens, (batch * windows, N, dim).
        """
        (q,) = split_heads(query, self.num_heads)
        k, v = split_heads(self.kv(context), self.num_heads, parts=2)
        bias = self.relative_position_bias(window).to(q.dtype)
        out, _ = window_recurrent_attention(q, k, v, bias=bias, mask=mask)
        return self.proj(out)

    def on_map(self, query: Tensor, context: Tensor, window: Sequence[int]) -> Tensor:
        """The same on maps, (B, *spatial, dim), that are neither padded nor cut."""
        k, v = self.kv(context).chunk(2, dim=-1)
        k_pad, v_pad = self.kv.bias.to(k.dtype).chunk(2)
        windows = Windows(self.num_heads, window, [0] * len(window))
        q = pad_to_multiple(query.to(k.dtype), window)
        return self.proj(piece_attention(q, k, v, self.relative_position_bias(window), k_pad, v_pad, windows))

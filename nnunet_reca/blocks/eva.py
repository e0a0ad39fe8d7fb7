"""EVA-02 layers as Primus uses them: rotary embedding, norm after attention, SwiGLU, LayerScale."""

from typing import cast

import torch
from timm.layers import DropPath, SwiGLU
from torch import Tensor, nn
from torch.nn import functional as F

from nnunet_reca.blocks.attention import LayerCarry
from nnunet_reca.blocks.checks import check_heads
from nnunet_reca.blocks.norm import LayerNorm
from nnunet_reca.ops import attention_query, join_heads, rotate, split_heads


class EvaAttention(nn.Module):
    """Multi-head attention over all tokens: softmax(scale * R(query) R(k)^T) v, a norm, a projection.

    A carry makes the query before R, the rotary embedding, turns it: in every layer alike, so that the sum of turned
    queries is the turned sum. Keys have no bias, which softmax would ignore. Source: EVA-02 (Fang et al. 2023).

    Args:
        dim: channels.
        num_heads: heads; divides ``dim``.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        check_heads(dim, num_heads)
        self.num_heads = num_heads
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim, bias=False)
        self.v_proj = nn.Linear(dim, dim)
        self.norm = LayerNorm(dim)
        self.proj = nn.Linear(dim, dim)

    def heads(
        self, x: Tensor, state: Tensor | None, carry: LayerCarry, rotary: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Query, key and value as they enter the product, (B, heads, N, head_dim), and the carry's state."""
        query, state = carry(self.q_proj(x), state)
        k, v = self.k_proj(x), self.v_proj(x)
        query, k = (rotate(split_heads(t, self.num_heads), rotary) for t in (query, k))
        return attention_query(query, v.dtype), k.to(v.dtype), split_heads(v, self.num_heads), state

    def forward(
        self, x: Tensor, state: Tensor | None, carry: LayerCarry, rotary: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """(B, N, dim), state or None, carry, (N, 2 head_dim) -> (B, N, dim), state (B, N, dim) or None."""
        query, k, v, state = self.heads(x, state, carry, rotary)
        return self.proj(self.norm(join_heads(F.scaled_dot_product_attention(query, k, v)))), state


class EvaBlock(nn.Module):
    """x + gamma_1 attention(norm(x)), then x + gamma_2 mlp(norm(x)); the carry skips drop-path and LayerScale.

    Args:
        dim: channels.
        num_heads: heads; divides ``dim``.
        mlp_ratio: hidden width of the SwiGLU over ``dim``.
        drop_path: probability of dropping a residual branch.
        layer_scale: initial value of gamma_1 and gamma_2, factors per channel.
    """

    def __init__(
        self, dim: int, num_heads: int, *, mlp_ratio: float = 8 / 3, drop_path: float = 0.0, layer_scale: float = 0.1
    ) -> None:
        super().__init__()
        self.norm1 = LayerNorm(dim)
        self.attn = EvaAttention(dim, num_heads)
        self.gamma_1 = nn.Parameter(torch.full((dim,), layer_scale))
        self.norm2 = LayerNorm(dim)
        self.mlp = SwiGLU(dim, int(dim * mlp_ratio), norm_layer=LayerNorm)
        self.gamma_2 = nn.Parameter(torch.full((dim,), layer_scale))
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(
        self, x: Tensor, state: Tensor | None, carry: LayerCarry, rotary: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """(B, N, dim), state or None, carry, (N, 2 head_dim) -> (B, N, dim), state."""
        attended, state = self.attn(self.norm1(x), state, carry, rotary)
        x = x + self.drop_path(self.gamma_1 * attended)
        return x + self.drop_path(self.gamma_2 * self.mlp(self.norm2(x))), state

    def rescale(self, layer: int) -> None:
        """Shrink the output projections of freshly initialised layer number ``layer`` (from 0), as BEiT and EVA do."""
        with torch.no_grad():
            for projection in (self.attn.proj, cast(nn.Linear, self.mlp.fc2)):
                projection.weight.div_((2.0 * (layer + 1)) ** 0.5)

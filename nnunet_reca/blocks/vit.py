"""Vision Transformer whose carry runs through all layers (RecA-S)."""

from timm.layers import Mlp
from torch import Tensor, nn
from torch.nn import functional as F

from nnunet_reca.blocks.attention import LayerCarry, no_carry
from nnunet_reca.blocks.checks import check_heads
from nnunet_reca.blocks.mlp import add_mlp
from nnunet_reca.blocks.norm import LayerNorm
from nnunet_reca.blocks.transformer import TransformerEncoder
from nnunet_reca.ops import attention_query, join_heads, split_heads


class SequentialAttention(nn.Module):
    """Multi-head attention over all tokens: softmax(scale * query k^T) v, then a projection; a carry makes the query.

    Args:
        dim: channels.
        num_heads: heads; divides ``dim``.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        check_heads(dim, num_heads)
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def heads(self, x: Tensor, state: Tensor | None, carry: LayerCarry) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Query, key and value as they enter the product, (B, heads, N, head_dim), and the carry's state."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        query, state = carry(q, state)
        query, k, v = (split_heads(part, self.num_heads) for part in (attention_query(query, k.dtype), k, v))
        return query, k, v, state

    def forward(
        self, x: Tensor, state: Tensor | None = None, carry: LayerCarry = no_carry
    ) -> tuple[Tensor, Tensor | None]:
        """(B, N, dim), state of the carry or None, carry -> (B, N, dim), state (B, N, dim) or None."""
        query, k, v, state = self.heads(x, state, carry)
        return self.proj(join_heads(F.scaled_dot_product_attention(query, k, v))), state


class VitBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)).

    Args:
        dim: channels.
        num_heads: heads; divides ``dim``.
        mlp_dim: hidden width of the MLP.
        dropout: after both layers of the MLP.
    """

    def __init__(self, dim: int, num_heads: int, mlp_dim: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1 = LayerNorm(dim, eps=1e-6)
        self.attn = SequentialAttention(dim, num_heads)
        self.norm2 = LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, hidden_features=mlp_dim, drop=dropout)

    def forward(
        self, x: Tensor, state: Tensor | None = None, carry: LayerCarry = no_carry
    ) -> tuple[Tensor, Tensor | None]:
        """(B, N, dim), state of the carry or None, carry -> (B, N, dim), state."""
        attended, state = self.attn(self.norm1(x), state, carry)
        return add_mlp(x + attended, self.norm2, self.mlp), state


class VitEncoder(TransformerEncoder):
    """Vision Transformer, (B, N, dim) -> (B, N, dim).

    Source: ViT (Dosovitskiy et al. 2021) as in TransUNet; the RecA paper's sequential variant (RecA-S) for the carry.

    Args:
        dim: channels.
        depth: number of layers.
        num_heads: heads; divides ``dim``.
        mlp_dim: hidden width of the MLPs.
        dropout: inside the MLPs.
        carry: what the layers hand on, see :func:`nnunet_reca.blocks.carry.parse_carry`; "none" is self-attention.
    """

    def __init__(
        self, dim: int, depth: int, num_heads: int, mlp_dim: int, *, dropout: float = 0.0, carry: str = "sum"
    ) -> None:
        blocks = [VitBlock(dim, num_heads, mlp_dim, dropout=dropout) for _ in range(depth)]
        super().__init__(blocks, LayerNorm(dim, eps=1e-6), num_heads, carry)

"""Vision Transformer encoder whose carry runs through all layers (RecA-S)."""

from timm.layers import Mlp
from torch import Tensor, nn

from nnunet_reca.blocks.checkpoint import Checkpointing
from nnunet_reca.blocks.checks import check_heads
from nnunet_reca.ops import recurrent_attention, split_heads


class SequentialAttention(nn.Module):
    """Multi-head Recurrent-Attention over all tokens: softmax(scale * (q + q_hat) k^T) v, then a projection.

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

    def forward(self, x: Tensor, q_hat: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, N, dim), carry or None -> (B, N, dim), carry (B, heads, N, head_dim)."""
        q, k, v = split_heads(self.qkv(x), self.num_heads, parts=3)
        out, q_hat = recurrent_attention(q, k, v, q_hat)
        return self.proj(out.transpose(1, 2).flatten(2)), q_hat


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
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = SequentialAttention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, hidden_features=mlp_dim, drop=dropout)

    def forward(self, x: Tensor, q_hat: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, N, dim), carry or None -> (B, N, dim), carry."""
        attended, q_hat = self.attn(self.norm1(x), q_hat)
        x = x + attended
        return x + self.mlp(self.norm2(x)), q_hat


class VitEncoder(Checkpointing):
    """Transformer layers with one carry through all of them, and a final norm, (B, N, dim) -> (B, N, dim).

    Source: ViT (Dosovitskiy et al. 2021) as in TransUNet; the RecA paper's sequential variant (RecA-S) for the carry.

    Args:
        dim: channels.
        depth: number of layers.
        num_heads: heads; divides ``dim``.
        mlp_dim: hidden width of the MLPs.
        dropout: inside the MLPs.
        recurrent: hand q_hat from layer to layer; False is self-attention with the same parameters.
    """

    def __init__(
        self, dim: int, depth: int, num_heads: int, mlp_dim: int, *, dropout: float = 0.0, recurrent: bool = True
    ) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.blocks = nn.ModuleList(VitBlock(dim, num_heads, mlp_dim, dropout=dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        q_hat = None
        for block in self.blocks:
            x, q_hat = self.run(block, x, q_hat if self.recurrent else None)
        return self.norm(x)

"""Swin Transformer block that lets one token map look at another."""

from collections.abc import Sequence

from timm.layers import DropPath, Mlp
from torch import Tensor, nn

from nnunet_reca.blocks.attention import WindowCrossAttention
from nnunet_reca.blocks.mlp import add_mlp
from nnunet_reca.blocks.norm import LayerNorm
from nnunet_reca.ops import fit_windows
from nnunet_reca.ops.relative_position import IndexScheme


class SwinCrossBlock(nn.Module):
    """x = query + context; x + attention(norm(query), norm(context)), then x + mlp(norm(x)); windows are not shifted.

    One norm serves both maps; they are zero-padded after it to a multiple of the window. Source: nnFormer (Zhou et
    al. 2023), "skip attention" of its decoder.

    Args:
        dim: channels.
        num_heads: heads; divides ``dim``.
        window_size: window; shrinks per axis to maps that are smaller.
        mlp_ratio: hidden width of the MLP over ``dim``.
        drop_path: probability of dropping a residual branch.
        index_scheme: see :func:`nnunet_reca.ops.relative_position_index`.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: Sequence[int],
        *,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        index_scheme: IndexScheme = "exact",
    ) -> None:
        super().__init__()
        self.window_size = tuple(window_size)
        self.norm1 = LayerNorm(dim)
        self.attn = WindowCrossAttention(dim, num_heads, window_size, index_scheme=index_scheme)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.norm2 = LayerNorm(dim)
        self.mlp = Mlp(dim, hidden_features=int(dim * mlp_ratio))

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """(B, *spatial, dim), (B, *spatial, dim) -> (B, *spatial, dim)."""
        window, _ = fit_windows(query.shape[1:-1], self.window_size, self.window_size)
        attended = self.attn(self.norm1(query), self.norm1(context), window=window)
        x = query + context + self.drop_path(attended)
        return add_mlp(x, self.norm2, self.mlp, self.drop_path)

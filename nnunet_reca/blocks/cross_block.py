"""Swin Transformer block that lets one token map look at another."""

from collections.abc import Sequence

from timm.layers import DropPath, Mlp
from torch import Tensor, nn

from nnunet_reca.blocks.attention import WindowCrossAttention
from nnunet_reca.ops import attends_in_pieces, crop_map, fit_windows, merge_windows, pad_to_multiple, partition_windows
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
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowCrossAttention(dim, num_heads, window_size, index_scheme=index_scheme)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, hidden_features=int(dim * mlp_ratio))

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """(B, *spatial, dim), (B, *spatial, dim) -> (B, *spatial, dim)."""
        x = query + context + self.drop_path(self._attend(self.norm1(query), self.norm1(context)))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _attend(self, query: Tensor, context: Tensor) -> Tensor:
        spatial = query.shape[1:-1]
        window, _ = fit_windows(spatial, self.window_size, [0] * len(spatial))
        if attends_in_pieces(query, window):
            return self.attn.on_map(query, context, window)
        query, context = pad_to_multiple(query, window), pad_to_multiple(context, window)
        tokens = self.attn(partition_windows(query, window), partition_windows(context, window), window=window)
        return crop_map(merge_windows(tokens, window, query.shape[1:-1]), spatial)

"""Swin Transformer block around window attention."""

from collections.abc import Sequence

from timm.layers import DropPath, Mlp
from torch import Tensor, nn

from nnunet_reca.blocks.attention import LayerCarry, WindowAttention, no_carry
from nnunet_reca.blocks.mlp import add_mlp
from nnunet_reca.blocks.norm import LayerNorm
from nnunet_reca.ops import fit_windows
from nnunet_reca.ops.relative_position import IndexScheme
from nnunet_reca.ops.windows import Size


class SwinBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); attention in (shifted) windows.

    The map is zero-padded after the first norm to a multiple of the window; padded tokens take part as keys, as in
    Swin Transformer and MONAI. The carry skips drop-path.

    Args:
        dim: channels.
        num_heads: heads; divides ``dim``.
        window_size: window; shrinks per axis to maps that are smaller.
        shift_size: shift of the windows; dropped on an axis that one window covers.
        mlp_ratio: hidden width of the MLP over ``dim``.
        drop_path: probability of dropping a residual branch.
        index_scheme: see :func:`nnunet_reca.ops.relative_position_index`.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: Sequence[int],
        shift_size: Sequence[int],
        *,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        index_scheme: IndexScheme = "exact",
    ) -> None:
        super().__init__()
        self.window_size = tuple(window_size)
        self.shift_size = tuple(shift_size)
        self.norm1 = LayerNorm(dim)
        self.attn = WindowAttention(dim, num_heads, window_size, index_scheme=index_scheme)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.norm2 = LayerNorm(dim)
        self.mlp = Mlp(dim, hidden_features=int(dim * mlp_ratio))

    def forward(
        self, x: Tensor, state: Tensor | None = None, carry: LayerCarry = no_carry
    ) -> tuple[Tensor, Tensor | None]:
        """(B, *spatial, dim), state of the carry or None, carry -> (B, *spatial, dim), state.

        The state holds a query for every token of the padded, shifted map, (B, *padded, dim).
        """
        window, shift = self.fitted(x.shape[1:-1])
        attended, state = self.attn(self.norm1(x), state, carry, window=window, shift=shift)
        return add_mlp(x + self.drop_path(attended), self.norm2, self.mlp, self.drop_path), state

    def fitted(self, spatial: Sequence[int]) -> tuple[Size, Size]:
        """Window and shift in use on a map of this size."""
        return fit_windows(spatial, self.window_size, self.shift_size)

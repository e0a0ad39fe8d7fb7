"""Swin Transformer block around window attention."""

from collections.abc import Sequence

from timm.layers import DropPath, Mlp
from torch import Tensor, nn

from nnunet_reca.blocks.attention import WindowAttention
from nnunet_reca.ops import (
    attends_in_pieces,
    crop_map,
    fit_windows,
    infers_on_cpu,
    merge_windows,
    pad_to_multiple,
    partition_windows,
    shift_map,
    shifted_window_mask,
)
from nnunet_reca.ops.relative_position import IndexScheme
from nnunet_reca.ops.windows import Size

#: Tokens that go through the MLP at a time in inference on the CPU, where large new maps are slow.
TOKENS = 8192


class SwinBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); attention in (shifted) windows.

    The map is zero-padded after the first norm to a multiple of the window; padded tokens take part as keys, as in
    Swin Transformer and MONAI. The carry passes by window index and skips drop-path.

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
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, num_heads, window_size, index_scheme=index_scheme)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, hidden_features=int(dim * mlp_ratio))

    def forward(self, x: Tensor, q_hat: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, *spatial, dim), carry or None -> (B, *spatial, dim), carry.

        The carry holds a query for every token of the padded, shifted map: in windows, (B * windows, heads, N,
        head_dim), or where attention runs in pieces as a map, (B, *padded, dim).
        """
        attended, q_hat = self._attend(self.norm1(x), q_hat)
        x = x + self.drop_path(attended)
        if infers_on_cpu(x) and not self.training:
            rows = TOKENS * x.shape[1] // max(1, x.shape[:-1].numel())
            for part in x.split(max(1, rows), dim=1):
                part += self.mlp(self.norm2(part))
            return x, q_hat
        return x + self.drop_path(self.mlp(self.norm2(x))), q_hat

    def fitted(self, spatial: Sequence[int]) -> tuple[Size, Size]:
        """Window and shift in use on a map of this size."""
        return fit_windows(spatial, self.window_size, self.shift_size)

    def _attend(self, x: Tensor, q_hat: Tensor | None) -> tuple[Tensor, Tensor]:
        spatial = x.shape[1:-1]
        window, shift = self.fitted(spatial)
        if attends_in_pieces(x, window):
            return self.attn.on_map(x, q_hat, window, shift)
        x = shift_map(pad_to_multiple(x, window), shift)
        padded = x.shape[1:-1]
        mask = shifted_window_mask(padded, window, shift, device=x.device)
        tokens, q_hat = self.attn(partition_windows(x, window), q_hat, window=window, mask=mask)
        x = shift_map(merge_windows(tokens, window, padded), [-d for d in shift])
        return crop_map(x, spatial), q_hat

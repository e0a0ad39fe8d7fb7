"""A stage of Swin blocks, which carries or drops the running query."""

from collections.abc import Sequence

from torch import Tensor, nn

from nnunet_reca.blocks.swin_block import SwinBlock
from nnunet_reca.ops.relative_position import IndexScheme


class SwinStage(nn.Module):
    """Blocks of alternately plain and shifted windows; the carry q_hat starts anew with every call (RecA-H).

    Args:
        dim: channels.
        depth: number of blocks.
        num_heads: heads; divides ``dim``.
        window_size: window of every block.
        shift_size: shift of the odd blocks; default half a window.
        mlp_ratio: hidden width of the MLPs over ``dim``.
        drop_path: probability of dropping a residual branch, one value per block.
        recurrent: hand q_hat from block to block; False is self-attention with the same parameters.
        index_scheme: see :func:`nnunet_reca.ops.relative_position_index`.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        num_heads: int,
        window_size: Sequence[int],
        *,
        shift_size: Sequence[int] | None = None,
        mlp_ratio: float = 4.0,
        drop_path: Sequence[float] = (),
        recurrent: bool = True,
        index_scheme: IndexScheme = "exact",
    ) -> None:
        super().__init__()
        self.recurrent = recurrent
        rates = drop_path or [0.0] * depth
        plain, shifted = [0] * len(window_size), shift_size or [w // 2 for w in window_size]
        self.blocks = nn.ModuleList(
            SwinBlock(
                dim,
                num_heads,
                window_size,
                shifted if i % 2 else plain,
                mlp_ratio=mlp_ratio,
                drop_path=rates[i],
                index_scheme=index_scheme,
            )
            for i in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, *spatial, dim) -> (B, *spatial, dim)."""
        q_hat = None
        for block in self.blocks:
            x, q_hat = block(x, q_hat if self.recurrent else None)
        return x

"""A stage of Swin blocks, which carries or drops the running query."""

from collections.abc import Iterable, Sequence
from typing import Literal, cast, get_args

from torch import Tensor, nn

from nnunet_reca.blocks.checkpoint import Checkpointing
from nnunet_reca.blocks.swin_block import SwinBlock
from nnunet_reca.ops import attends_in_pieces, realign_windows, shift_map
from nnunet_reca.ops.relative_position import IndexScheme

CarryAlignment = Literal["window", "spatial"]


class SwinStage(Checkpointing):
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
        carry_alignment: "window", as published: q_hat passes by window index, so that a shift of the windows moves it
            to other tokens; or "spatial": q_hat is shifted with the windows and stays with its token.
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
        carry_alignment: CarryAlignment = "window",
        index_scheme: IndexScheme = "exact",
    ) -> None:
        super().__init__()
        if carry_alignment not in get_args(CarryAlignment):
            raise ValueError(f"expected carry_alignment 'window' or 'spatial', got {carry_alignment!r}")
        self.recurrent = recurrent
        self.carry_alignment = carry_alignment
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
        q_hat: Tensor | None = None
        last: SwinBlock | None = None
        for block in cast(Iterable[SwinBlock], self.blocks):
            if not self.recurrent:
                q_hat = None
            elif q_hat is not None and last is not None and self.carry_alignment == "spatial":
                q_hat = _realign(q_hat, last, block, x)
            x, q_hat = self.run(block, x, q_hat)
            last = block
        return x


def _realign(q_hat: Tensor, last: SwinBlock, block: SwinBlock, x: Tensor) -> Tensor:
    """Carry of ``last`` in the windows of ``block``, every query staying with its token of the map ``x``."""
    spatial = x.shape[1:-1]
    (window, old_shift), (_, new_shift) = last.fitted(spatial), block.fitted(spatial)
    if attends_in_pieces(x, window):  # the carry is a map
        return shift_map(q_hat, [new - old for new, old in zip(new_shift, old_shift, strict=True)])
    padded = [s + -s % w for s, w in zip(spatial, window, strict=True)]
    return realign_windows(q_hat, window, padded, old_shift, new_shift)

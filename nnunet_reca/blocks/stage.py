"""A stage of Swin blocks, through which a carry runs."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from nnunet_reca.blocks.carry import CARRIES, parse_carry
from nnunet_reca.blocks.checkpoint import Checkpointing
from nnunet_reca.blocks.swin_block import SwinBlock
from nnunet_reca.ops import shift_map
from nnunet_reca.ops.relative_position import IndexScheme


class SwinStage(Checkpointing):
    """Blocks of alternately plain and shifted windows; the carry starts anew with every call (RecA-H).

    Args:
        dim: channels.
        depth: number of blocks.
        num_heads: heads; divides ``dim``.
        window_size: window of every block.
        shift_size: shift of the odd blocks; default half a window.
        mlp_ratio: hidden width of the MLPs over ``dim``.
        drop_path: probability of dropping a residual branch, one value per block.
        carry: what the blocks hand on, see :mod:`nnunet_reca.blocks.carry`: "none" is self-attention; "sum" is as
            published, q_hat passes by window index, so that a shift of the windows moves it to other tokens; in
            "sum_spatial" it is shifted with the windows and stays with its token.
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
        carry: str = "sum",
        index_scheme: IndexScheme = "exact",
    ) -> None:
        super().__init__()
        kind, self.spatial = parse_carry(carry)
        self.carry = CARRIES[kind](depth, num_heads)
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
        state: Tensor | None = None
        shift: Sequence[int] = ()
        for layer, block in enumerate(self.blocks):
            _, new_shift = block.fitted(x.shape[1:-1])  # type: ignore[operator]
            if self.spatial and state is not None:
                state = shift_map(state, [new - old for new, old in zip(new_shift, shift, strict=True)])
            x, state = self.run(block, x, state, partial(self.carry, layer=layer))
            shift = new_shift
        return x

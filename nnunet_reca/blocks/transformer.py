"""A transformer's layers over all tokens, with one carry through all of them (RecA-S)."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from nnunet_reca.blocks.carry import CARRIES, parse_carry
from nnunet_reca.blocks.checkpoint import Checkpointing


class TransformerEncoder(Checkpointing):
    """Layers, and a final norm, (B, N, dim) -> (B, N, dim); the carry starts anew with every call.

    Args:
        blocks: layers, called as ``block(x, state, carry, *shared)``, that return tokens and the carry's state.
        norm: after the last.
        num_heads: heads of each layer.
        carry: what the layers hand on, see :func:`nnunet_reca.blocks.carry.parse_carry`; "none" is self-attention.
    """

    def __init__(self, blocks: Sequence[nn.Module], norm: nn.Module, num_heads: int, carry: str) -> None:
        super().__init__()
        kind, _ = parse_carry(carry, windows=False)
        self.carry = CARRIES[kind](len(blocks), num_heads)
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm

    def forward(self, x: Tensor, *shared: Tensor) -> Tensor:
        """``shared`` goes to every layer."""
        state: Tensor | None = None
        for layer, block in enumerate(self.blocks):
            x, state = self.run(block, x, state, partial(self.carry, layer=layer), *shared)
        return self.norm(x)

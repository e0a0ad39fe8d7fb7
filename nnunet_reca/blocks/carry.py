"""The carry: what the attention layers of a chain hand on from one to the next, a class for each kind.

A chain (a stage of Swin blocks, a transformer) owns one carry and calls it in every layer::

    query, state = carry(q, state, layer)

``q`` is the layer's own query, ``query`` what its attention uses, ``state`` what the next layer gets. Nothing is kept
in the module between calls. A kind without parameters leaves the state dict to be that of the self-attention twin.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from nnunet_reca.ops import carry_query

#: keeps the length of a zero query differentiable
EPS = 1e-12


class Carry(nn.Module):
    """Base of the kinds.

    Args:
        depth: layers of the chain.
        num_heads: heads of each layer.
    """

    def __init__(self, depth: int, num_heads: int) -> None:
        super().__init__()
        self.depth = depth
        self.num_heads = num_heads

    def forward(self, q: Tensor, state: Tensor | None, layer: int) -> tuple[Tensor, Tensor | None]:
        """
        Args:
            q: the layer's own query, (B, *S, C), heads side by side in C.
            state: handed on by the layer before, shaped like ``q``; None in the first.
            layer: number in the chain, from 0.

        Returns:
            The query of the layer's attention, shaped like ``q``, and the state for the next layer.
        """
        raise NotImplementedError


class NoCarry(Carry):
    """Self-attention: each layer has its own query only."""

    def forward(self, q: Tensor, state: Tensor | None, layer: int) -> tuple[Tensor, Tensor | None]:
        return q, None


class SumCarry(Carry):
    """Recurrent-Attention as published: q_hat_i = q_i + q_hat_{i-1}, which is both query and state."""

    def forward(self, q: Tensor, state: Tensor | None, layer: int) -> tuple[Tensor, Tensor | None]:
        q_hat = carry_query(q, state)
        return q_hat, q_hat


class MeanCarry(Carry):
    """Mean of all queries so far, (q_0 + ... + q_i) / (i + 1): the logits keep their scale. The state is the sum."""

    def forward(self, q: Tensor, state: Tensor | None, layer: int) -> tuple[Tensor, Tensor | None]:
        total = carry_query(q, state)
        return total / (layer + 1), total


class GatedCarry(Carry):
    """q_hat_i = q_i + g_i q_hat_{i-1} with a learned factor g per layer and head.

    All factors start at 0, so that a training starts as self-attention. The first layer of a chain has none.
    """

    #: parameters that are never decayed
    no_weight_decay = ("gate",)

    def __init__(self, depth: int, num_heads: int) -> None:
        super().__init__(depth, num_heads)
        if depth > 1:
            self.gate = nn.Parameter(torch.zeros(depth - 1, num_heads))

    def forward(self, q: Tensor, state: Tensor | None, layer: int) -> tuple[Tensor, Tensor | None]:
        if state is not None:
            gate = self.gate[layer - 1].to(torch.promote_types(state.dtype, torch.float32))
            state = (state.unflatten(-1, (self.num_heads, -1)) * gate.unsqueeze(-1)).flatten(-2)
        q_hat = carry_query(q, state)
        return q_hat, q_hat


class NormedCarry(Carry):
    """The sum's direction with the length of the layer's own query, per token and head; the state is the sum.

    query_i = s_i length(q_i) / length(s_i) with s_i = q_0 + ... + q_i: no sharper logits, however long the chain.
    """

    def forward(self, q: Tensor, state: Tensor | None, layer: int) -> tuple[Tensor, Tensor | None]:
        total = carry_query(q, state)
        if state is None:
            return q, total
        own, heads = (t.to(total.dtype).unflatten(-1, (self.num_heads, -1)) for t in (q, total))
        length, wanted = (t.square().sum(-1, keepdim=True).add(EPS).sqrt() for t in (heads, own))
        return (heads * (wanted / length)).flatten(-2), total


class DetachedCarry(Carry):
    """The published sum without a gradient through the carry: each layer learns its own query only."""

    def forward(self, q: Tensor, state: Tensor | None, layer: int) -> tuple[Tensor, Tensor | None]:
        q_hat = carry_query(q, None if state is None else state.detach())
        return q_hat, q_hat


class PreviousCarry(Carry):
    """q_i + q_{i-1}: the query of the layer before alone, not of all before; the state is the layer's own query."""

    def forward(self, q: Tensor, state: Tensor | None, layer: int) -> tuple[Tensor, Tensor | None]:
        return carry_query(q, state), q


#: kind, as in the argument ``carry`` of the networks -> class
CARRIES: dict[str, type[Carry]] = {
    "none": NoCarry,
    "sum": SumCarry,
    "mean": MeanCarry,
    "gated": GatedCarry,
    "normed": NormedCarry,
    "detached": DetachedCarry,
    "previous": PreviousCarry,
}
#: behind a kind: the state is shifted with the windows and stays with its token, instead of passing by window index
SPATIAL = "_spatial"


class CarryOption(NamedTuple):
    """The argument ``carry`` of the networks, parsed.

    Attributes:
        kind: key of :data:`CARRIES`.
        spatial: whether the state stays with its token where windows shift.
    """

    kind: str
    spatial: bool


def parse_carry(carry: str, *, windows: bool = True) -> CarryOption:
    """Kind and alignment of a carry such as "sum" or "sum_spatial".

    Args:
        carry: key of :data:`CARRIES`, with :data:`SPATIAL` behind it or not.
        windows: whether the chain has windows, which ``_spatial`` is about.

    Raises:
        ValueError: for anything else.
    """
    if not isinstance(carry, str):
        raise ValueError(f"expected a carry of {', '.join(CARRIES)}, got {carry!r}; 'sum' is Recurrent-Attention")
    kind = carry.removesuffix(SPATIAL)
    spatial = kind != carry
    if kind not in CARRIES or (spatial and kind == "none"):
        aligned = f", each but none also with {SPATIAL}" if windows else ""
        raise ValueError(f"expected a carry of {', '.join(CARRIES)}{aligned}, got {carry!r}; choose one of them")
    if spatial and not windows:
        raise ValueError(
            f"expected a carry without {SPATIAL}, which is about windows, got {carry!r}; all tokens see each other "
            f"here, use {kind!r}"
        )
    return CarryOption(kind, spatial)

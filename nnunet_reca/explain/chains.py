"""The carry chains of a network: its encoder's stages of attention layers; and how to cut them for a while."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nnunet_reca.blocks import NoCarry, SwinStage
from nnunet_reca.blocks.carry import Carry

#: Layers of a long chain whose attention is shown, evenly spread up to its last.
MOST_LAYERS = 4


@dataclass(frozen=True)
class Chain:
    """Attention layers that hand q_hat on, one to the next; in a self-attention twin the same layers without a carry.

    Attributes:
        name: short name, such as ``stage 1``, counted from the finest; ``transformer`` for a Vision Transformer.
        module: the layers, ``blocks``; its attribute ``carry`` is what they hand on.
    """

    name: str
    module: Any

    @property
    def carries(self) -> bool:
        """Whether the layers hand anything on."""
        return not isinstance(self.module.carry, NoCarry)

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self.module.blocks)

    @property
    def shown_layers(self) -> list[int]:
        """Layers whose attention is shown: the last of a Swin stage, up to four of a Vision Transformer."""
        parts = 1 if isinstance(self.module, SwinStage) else min(MOST_LAYERS, self.depth)
        return [-(-self.depth * (i + 1) // parts) - 1 for i in range(parts)]


def carry_chains(network: nn.Module) -> list[Chain]:
    """The chains of a network's encoder, the finest first; decoders have self-attention in every network.

    Raises:
        ValueError: if there are none, because the network is not of this package.
    """
    encoder = getattr(network, "encoder", None)
    modules = [] if encoder is None else encoder.modules()
    found = [module for module in modules if isinstance(getattr(module, "carry", None), Carry)]
    if not found:
        raise ValueError(
            f"expected a network of nnunet_reca, got {type(network).__name__}, without stages of attention layers; "
            "choose the folder of a model that was trained with a trainer of nnunet_reca"
        )
    return [Chain(f"stage {n}" if isinstance(m, SwinStage) else "transformer", m) for n, m in enumerate(found, 1)]


def _silent(carry: Carry) -> Carry:
    """No carry, with the parameters of another, which nnU-Net loads anew before each prediction."""
    silent = copy.copy(carry)
    silent.__class__ = NoCarry
    return silent


@contextmanager
def cut(chains: Sequence[Chain]) -> Iterator[None]:
    """Switch the carry of these chains off: the same weights as self-attention; afterwards all is as before."""
    before = [chain.module.carry for chain in chains]
    try:
        for chain, carry in zip(chains, before, strict=True):
            chain.module.carry = _silent(carry)
        yield
    finally:
        for chain, carry in zip(chains, before, strict=True):
            chain.module.carry = carry


@contextmanager
def _computing(modules: Sequence[nn.Module], forward: Callable[..., Any]) -> Iterator[None]:
    """Let modules compute something else for a while; they keep their parameters, which nnU-Net loads anew."""
    before = [vars(module).get("forward") for module in modules]
    try:
        for module in modules:
            vars(module)["forward"] = forward
        yield
    finally:
        for module, own in zip(modules, before, strict=True):
            if own is None:
                vars(module).pop("forward", None)
            else:
                vars(module)["forward"] = own


def cut_attention(chains: Sequence[Chain]) -> AbstractContextManager[None]:
    """Switch the attention of these chains off: each layer's attention adds nothing, its MLP stays."""

    def nothing(x: Tensor, state: Tensor | None = None, *_: Any, **__: Any) -> tuple[Tensor, Tensor | None]:
        return torch.zeros_like(x), state

    return _computing([block.attn for chain in chains for block in chain.module.blocks], nothing)


def cut_blocks(chains: Sequence[Chain]) -> AbstractContextManager[None]:
    """Put the identity in the place of these chains' layers, attention and MLPs."""

    def identity(x: Tensor, state: Tensor | None = None, *_: Any) -> tuple[Tensor, Tensor | None]:
        return x, state

    return _computing([block for chain in chains for block in chain.module.blocks], identity)


#: what can be cut of chains -> how
CUTS: dict[str, Callable[[Sequence[Chain]], AbstractContextManager[None]]] = {
    "carry": cut,
    "attention": cut_attention,
    "blocks": cut_blocks,
}

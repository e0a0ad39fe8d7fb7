"""What a token attends to, found by the layers' own code: how its attended values change with every token's value.

Attended values are sums of values, weighted by the attention: their derivative to a value is its weight. The networks
store no attention, and nothing is computed anew here, padding, shift, mask and carry included.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nnunet_reca.blocks import SwinBlock
from nnunet_reca.explain.chains import Chain, cut
from nnunet_reca.explain.grid import Index
from nnunet_reca.ops import window_attention


@dataclass(frozen=True)
class Attention:
    """Attention of one token.

    Attributes:
        weights: over the tokens of the map, (heads, *map); with the weight on padding, each head's sum is 1.
        visible: True where the token may attend to, (*map).
        keys: number of tokens that it may attend to, padded ones included; uniform attention gives each 1 / keys.
    """

    weights: Tensor
    visible: Tensor
    keys: int

    @property
    def mean(self) -> Tensor:
        """Average over the heads, (*map)."""
        return self.weights.mean(0)

    @property
    def on_padding(self) -> float:
        """Weight on padded tokens, averaged over the heads."""
        return max(0.0, 1 - self.mean.sum().item())

    @property
    def effective_tokens(self) -> float:
        """Tokens over which the mean attention spreads: exp of its entropy, all visible ones where it is uniform."""
        p = self.mean.flatten() / self.mean.sum()
        return torch.special.entr(p).sum().exp().item()


@dataclass(frozen=True)
class View:
    """Attention of a layer, with the carry and without it.

    Attributes:
        chain: the chain of the layer.
        layer: its number in the chain, from 0.
        token: the token that attends, on the layer's map.
        window: window and shift in use, None where all tokens see each other.
        alone: attention with the chain's carry switched off.
        carried: attention with the carry, None in a self-attention twin.
    """

    chain: Chain
    layer: int
    token: Index
    window: tuple[Index, Index] | None
    alone: Attention
    carried: Attention | None

    @property
    def shown(self) -> Attention:
        """The attention that the network computes."""
        return self.carried or self.alone

    @property
    def parts(self) -> dict[str, Attention]:
        """Attention by name: ``carry_on`` and ``carry_off``, or ``self_attention`` of a twin."""
        if self.carried is None:
            return {"self_attention": self.alone}
        return {"carry_on": self.carried, "carry_off": self.alone}

    @property
    def moved(self) -> float | None:
        """Share of the mean attention that the carry moves to other tokens, 0 to 1 (total variation distance)."""
        if self.carried is None:
            return None
        padding = abs(self.carried.on_padding - self.alone.on_padding)
        return 0.5 * ((self.carried.mean - self.alone.mean).abs().sum().item() + padding)


def attention_of(block: nn.Module, given: tuple[Any, ...], token: Index, grid: Sequence[int]) -> Attention:
    """What one token attends to in a block.

    Args:
        block: of a chain; its ``attn`` has ``qkv`` or ``v_proj``, and ``norm`` or ``proj`` behind the attended values.
        given: what the block is called with: its input, of one image, the carry's state, the carry, and what all blocks
            of the chain are given.
        token: index in ``grid``.
        grid: map of the block's tokens.
    """
    attn: Any = block.attn
    projection, behind = getattr(attn, "v_proj", None) or attn.qkv, getattr(attn, "norm", attn.proj)
    inner: dict[str, Tensor] = {}

    def project(module: nn.Module, given: tuple[Any, ...], projected: Tensor) -> Tensor:
        inner["projected"] = projected.detach().requires_grad_()
        return inner["projected"]

    with torch.enable_grad(), hooked(projection.register_forward_hook(project)), recorded([behind]) as attended:
        block(*given)
        (values,) = attended[behind]
        row = values.reshape(-1, attn.num_heads, values.shape[-1] // attn.num_heads)[np.ravel_multi_index(token, grid)]
        (change,) = torch.autograd.grad(row[:, 0].sum(), inner["projected"])
    by_head = change[..., -values.shape[-1] :].reshape(*grid, attn.num_heads, -1)  # values are the last of q, k, v
    visible, keys = _visible(block, token, grid)
    return Attention(by_head[..., 0].movedim(-1, 0).cpu(), visible, keys)


def _visible(block: nn.Module, token: Index, grid: Sequence[int]) -> tuple[Tensor, int]:
    """Where a token may attend to, and to how many tokens, padded ones included: attention that is uniform tells it."""
    if not isinstance(block, SwinBlock):
        return torch.ones(tuple(grid), dtype=torch.bool), int(np.prod(grid))
    window, shift = block.fitted(grid)
    frame = [-(-side // w) * w for side, w in zip(grid, window, strict=True)]
    n = int(np.prod(window))
    with torch.enable_grad():
        value = torch.zeros(1, *grid, 1, requires_grad=True)
        query, key, bias = torch.zeros(1, *frame, 1), torch.zeros(1, *grid, 1), torch.zeros(1, n, n)
        uniform = window_attention(query, key, value, bias, padding=(None, None), window=window, shift=shift)
        (weights,) = torch.autograd.grad(uniform[0][token].sum(), value)
    return weights[0, ..., 0] > 0, round(1 / weights.max().item())


@torch.no_grad()
def look(network: nn.Module, chains: Sequence[Chain], patch: Tensor, voxel: Sequence[int]) -> list[View]:
    """What the tokens that hold a voxel attend to, chain by chain, with the chain's carry on and switched off.

    A chain without its carry gets the input that it has in the whole network.

    Args:
        network: the network, in evaluation mode.
        chains: its carry chains.
        patch: the network's input, (1, C, *S).
        voxel: index in S.

    Returns:
        A view for every shown layer, in the network's order.
    """
    views = []
    for chain, given in zip(chains, inputs_of(network, chains, patch), strict=True):
        grid = given[0].shape[1:-1]
        if len(grid) == 1:  # tokens in a row: the map at the network's total stride
            total_stride: tuple[int, ...] = network.total_stride  # type: ignore[assignment]
            grid = torch.Size(s // t for s, t in zip(patch.shape[2:], total_stride, strict=True))
        token = tuple(v * g // s for v, g, s in zip(voxel, grid, patch.shape[2:], strict=True))
        views += _chain_views(chain, given, token, grid)
    return views


def inputs_of(network: nn.Module, chains: Sequence[Chain], patch: Tensor) -> list[tuple[Tensor, ...]]:
    """What each chain is called with in the whole network, tokens in float32 at least."""
    with recorded([chain.module for chain in chains]) as inputs:
        network(patch)
    given = [inputs[chain.module] for chain in chains]
    return [(x.to(torch.promote_types(x.dtype, torch.float32)), *shared) for x, *shared in given]


def _chain_views(chain: Chain, given: tuple[Tensor, ...], token: Index, grid: Sequence[int]) -> list[View]:
    """Views of a chain that is called with ``given``."""
    blocks = [chain.module.blocks[layer] for layer in chain.shown_layers]
    with cut([chain]), recorded(blocks) as alone:
        chain.module(*given)
    carried: dict[nn.Module, tuple[Any, ...]] = {}
    if chain.carries:
        with recorded(blocks) as carried:
            chain.module(*given)
    views = []
    for layer, block in zip(chain.shown_layers, blocks, strict=True):
        window = block.fitted(grid) if isinstance(block, SwinBlock) else None
        seen = [attention_of(block, inputs[block], token, grid) for inputs in (alone, carried) if inputs]
        views.append(View(chain, layer, token, window, seen[0], seen[1] if carried else None))
    return views


@contextmanager
def recorded(modules: Sequence[nn.Module]) -> Iterator[dict[nn.Module, tuple[Any, ...]]]:
    """Notes what each module is called with, the last call counts; the hooks are gone afterwards."""
    inputs: dict[nn.Module, tuple[Any, ...]] = {}
    with hooked(*(m.register_forward_pre_hook(lambda module, given: inputs.update({module: given})) for m in modules)):
        yield inputs


@contextmanager
def hooked(*hooks: Any) -> Iterator[None]:
    """Removes hooks in the end."""
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()

"""What a token attends to: attention weights computed anew, by the readable path, from what the layers are given.

The networks store no attention. Hooks note the input and the carry that a layer gets; from these its weights
softmax(scale * q_hat k^T + bias) follow by the functions of ``ops``, padding, shift and mask included.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from nnunet_reca.blocks import SwinBlock, VitEncoder
from nnunet_reca.blocks.attention import LayerCarry
from nnunet_reca.blocks.vit import VitBlock
from nnunet_reca.explain.chains import Chain, cut
from nnunet_reca.explain.grid import Index
from nnunet_reca.ops import crop_map, frame_map, partition_windows, shift_map, shifted_window_mask, split_heads


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


def attention_weights(q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(head_dim) + bias): (..., N, head_dim), (..., M, head_dim) -> (..., N, M)."""
    logits = q @ k.mT * k.shape[-1] ** -0.5
    return (logits if bias is None else logits + bias).softmax(-1)


def window_attention(block: SwinBlock, x: Tensor, state: Tensor | None, carry: LayerCarry, token: Index) -> Attention:
    """What one token attends to in a Swin block, by its window of the padded and shifted map.

    Args:
        block: the block.
        x: its input, (1, *spatial, dim).
        state: the carry's state that it gets, (1, *padded, dim) or None.
        carry: makes its query.
        token: index in ``spatial``.
    """
    attn, spatial = block.attn, x.shape[1:-1]
    window, shift = block.fitted(spatial)
    q, k, _ = attn.qkv(block.norm1(x)).chunk(3, dim=-1)
    q_pad, k_pad, _ = attn.qkv.bias.chunk(3)
    query, _ = carry(frame_map(q, window, shift, q_pad), state)
    padded = query.shape[1:-1]
    mask = shifted_window_mask(padded, window, shift, device=x.device)
    at = [(t - d) % p for t, d, p in zip(token, shift, padded, strict=True)]
    cell = [i // w for i, w in zip(at, window, strict=True)]
    number = _rank(cell, [p // w for p, w in zip(padded, window, strict=True)])
    place = _rank([i % w for i, w in zip(at, window, strict=True)], window)
    frames = (query, frame_map(k, window, shift, k_pad))
    query, k = (split_heads(partition_windows(f, window)[number : number + 1], attn.num_heads) for f in frames)
    bias = attn.relative_position_bias(window)
    mask = None if mask is None else mask[number]
    bias = bias if mask is None else bias.masked_fill(~mask, float("-inf"))
    row = attention_weights(query, k, bias)[0, :, place]
    visible = row.new_ones(1, row.shape[-1]) if mask is None else mask[None, place].to(row)
    on_frame = row.new_zeros(row.shape[0] + 1, *padded)
    box = (slice(None), *(slice(c * w, (c + 1) * w) for c, w in zip(cell, window, strict=True)))
    on_frame[box] = torch.cat([row, visible]).unflatten(-1, tuple(window))
    on_map = crop_map(shift_map(on_frame.unsqueeze(-1), [-d for d in shift]), spatial).squeeze(-1).cpu()
    return Attention(on_map[:-1], on_map[-1] > 0, int(visible.sum()))


def sequential_attention(
    block: VitBlock, x: Tensor, state: Tensor | None, carry: LayerCarry, token: Index, grid: Sequence[int]
) -> Attention:
    """What one token attends to in a Vision Transformer's layer; the tokens of ``grid`` are (1, N, dim)."""
    q, k, _ = block.attn.qkv(block.norm1(x)).chunk(3, dim=-1)
    query, _ = carry(q, state)
    heads = block.attn.num_heads
    row = attention_weights(split_heads(query, heads), split_heads(k, heads))[0, :, _rank(token, grid)]
    weights = row.unflatten(-1, tuple(grid)).cpu()
    return Attention(weights, torch.ones_like(weights[0], dtype=torch.bool), row.shape[-1])


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
    with recorded([chain.module for chain in chains]) as inputs:
        network(patch)
    views = []
    for chain in chains:
        (x,) = inputs[chain.module]
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        grid = x.shape[1:-1]
        if isinstance(chain.module, VitEncoder):  # tokens in a row: the map at the network's total stride
            total_stride: tuple[int, ...] = network.total_stride  # type: ignore[assignment]
            grid = torch.Size(s // t for s, t in zip(patch.shape[2:], total_stride, strict=True))
        token = tuple(v * g // s for v, g, s in zip(voxel, grid, patch.shape[2:], strict=True))
        views += _chain_views(chain, x, token, grid)
    return views


def _chain_views(chain: Chain, x: Tensor, token: Index, grid: Sequence[int]) -> list[View]:
    """Views of a chain whose input is ``x``."""
    blocks = cast(list[SwinBlock | VitBlock], [chain.module.blocks[layer] for layer in chain.shown_layers])
    with cut([chain]), recorded(blocks) as alone:
        chain.module(x)
    carried: dict[nn.Module, tuple[Any, ...]] = {}
    if chain.carries:
        with recorded(blocks) as carried:
            chain.module(x)
    views = []
    for layer, block in zip(chain.shown_layers, blocks, strict=True):
        window = block.fitted(grid) if isinstance(block, SwinBlock) else None
        seen = [_attention(block, inputs[block], token, grid) for inputs in (alone, carried) if inputs]
        views.append(View(chain, layer, token, window, seen[0], seen[1] if carried else None))
    return views


def _attention(block: SwinBlock | VitBlock, given: tuple[Any, ...], token: Index, grid: Sequence[int]) -> Attention:
    x, state, carry = given
    if isinstance(block, SwinBlock):
        return window_attention(block, x, state, carry, token)
    return sequential_attention(block, x, state, carry, token, grid)


@contextmanager
def recorded(modules: Sequence[nn.Module]) -> Iterator[dict[nn.Module, tuple[Any, ...]]]:
    """Notes what each module is called with, the last call counts; the hooks are gone afterwards."""
    inputs: dict[nn.Module, tuple[Any, ...]] = {}
    hooks = [m.register_forward_pre_hook(lambda module, given: inputs.__setitem__(module, given)) for m in modules]
    try:
        yield inputs
    finally:
        for hook in hooks:
            hook.remove()


def _rank(index: Sequence[int], shape: Sequence[int]) -> int:
    """Row-major rank of an index."""
    rank = 0
    for i, n in zip(index, shape, strict=True):
        rank = rank * n + i
    return rank

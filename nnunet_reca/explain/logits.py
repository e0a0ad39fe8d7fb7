"""How sharp the attention of every layer is: spread of its logits and its entropy, with the carry and without it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nnunet_reca.blocks import SwinBlock
from nnunet_reca.explain.attention import hooked, inputs_of
from nnunet_reca.explain.chains import Chain, cut
from nnunet_reca.ops import attention_query, frame_map, partition_windows, shifted_window_mask, split_heads

#: Logits that are held at a time.
MOST_LOGITS = 2**23


@dataclass(frozen=True)
class Spread:
    """Sharpness of a layer's attention, averaged over its heads and queries that may attend to two keys or more.

    Attributes:
        chain: the chain of the layer.
        layer: its number in the chain, from 0.
        attention: ``carry_on`` or ``carry_off``, or ``self_attention`` of a twin.
        logits: standard deviation of a query's logits over the keys that it may attend to, padded ones included; None
            where no query has two.
        entropy: of a query's attention, over the logarithm of its keys: 1 is uniform, 0 is a single key.
    """

    chain: Chain
    layer: int
    attention: str
    logits: float | None
    entropy: float | None


@dataclass(frozen=True)
class Product:
    """What enters softmax(scale query key^T + bias), in windows, of which a map without any is one.

    Attributes:
        query: (windows, heads, N, head_dim).
        key: shaped like it.
        scale: of the product.
        bias: (heads, N, N) or None.
        visible: where a query may attend to, (windows, N, N); None where all may.
        inside: queries that are no padding, (windows, N); None where all are.
    """

    query: Tensor
    key: Tensor
    scale: float
    bias: Tensor | None = None
    visible: Tensor | None = None
    inside: Tensor | None = None

    def parts(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Logits (w, heads, n, N), where they may attend to (w, 1, n, N) and whether they count (w, 1, n), in parts."""
        windows, heads, n, _ = self.query.shape
        for some in torch.arange(windows).split(max(1, MOST_LOGITS // (heads * n * n))):
            w = slice(int(some[0]), int(some[-1]) + 1)
            for queries in torch.arange(n).split(max(1, MOST_LOGITS // (heads * n))):
                q = slice(int(queries[0]), int(queries[-1]) + 1)
                logits = self.scale * self.query[w, :, q] @ self.key[w].mT
                if self.bias is not None:
                    logits = logits + self.bias[:, q]
                everywhere = torch.ones_like(logits[:, 0], dtype=torch.bool)
                visible = everywhere if self.visible is None else self.visible[w, q]
                inside = everywhere[..., 0] if self.inside is None else self.inside[w, q]
                yield logits, visible.unsqueeze(1), inside.unsqueeze(1)


def measure(network: nn.Module, chains: Sequence[Chain], patch: Tensor) -> list[Spread]:
    """Sharpness of every layer, with its chain's carry on and off; the chain's input is that in the whole network.

    Args:
        network: the network, in evaluation mode.
        chains: its carry chains.
        patch: the network's input, (1, C, *S).
    """
    spreads = []
    with torch.no_grad():
        for chain, given in zip(chains, inputs_of(network, chains, patch), strict=True):
            carried = _chain_spreads(chain, given, "carry_on") if chain.carries else []
            with cut([chain]):
                alone = _chain_spreads(chain, given, "carry_off" if carried else "self_attention")
            spreads += [s for layer in zip(*filter(None, (carried, alone)), strict=True) for s in layer]
    return spreads


def _chain_spreads(chain: Chain, given: Sequence[Tensor], attention: str) -> list[Spread]:
    """Each layer is measured when it is called, so that nothing of it has to be kept."""
    spreads: list[Spread] = []

    def note(block: nn.Module, given: tuple[Any, ...]) -> None:
        spreads.append(Spread(chain, len(spreads), attention, *sharpness(product_of(block, given))))

    with hooked(*(block.register_forward_pre_hook(note) for block in chain.module.blocks)):
        chain.module(*given)
    return spreads


def product_of(block: Any, given: tuple[Any, ...]) -> Product:
    """Query and key of a block that is called with ``given``, by the block's own projections."""
    x, state, carry, *shared = given
    x = block.norm1(x)
    if not isinstance(block, SwinBlock):
        query, key, _, _ = block.attn.heads(x, state, carry, *shared)
        return Product(query, key, query.shape[-1] ** -0.5)
    window, shift = block.fitted(x.shape[1:-1])
    query, key, _, (padding, _), _ = block.attn.project(x, state, carry, window, shift)
    query, key = attention_query(query, key.dtype), frame_map(key, window, shift, padding)
    inside = frame_map(torch.ones_like(x[:1, ..., :1]), window, shift)
    visible = shifted_window_mask(query.shape[1:-1], window, shift, device=x.device)
    query, key = (split_heads(partition_windows(t, window), block.attn.num_heads) for t in (query, key))
    scale = query.shape[-1] ** -0.5 if block.attn.scale is None else block.attn.scale
    bias = block.attn.relative_position_bias(window)
    return Product(query, key, scale, bias, visible, partition_windows(inside, window)[..., 0] > 0)


def sharpness(product: Product) -> tuple[float | None, float | None]:
    """Standard deviation of the logits and relative entropy, averaged over heads and queries of two keys or more."""
    count, deviations, entropies = 0, 0.0, 0.0
    for logits, visible, inside in product.parts():
        keys = visible.sum(-1)
        mean = logits.where(visible, 0).sum(-1) / keys
        deviation = (logits - mean.unsqueeze(-1)).where(visible, 0).square().sum(-1).div(keys).sqrt()
        weights = logits.where(visible, float("-inf")).softmax(-1)
        entropy = torch.special.entr(weights).sum(-1) / keys.to(weights.dtype).log()
        counted = (inside & (keys > 1)).expand_as(entropy)
        count += int(counted.sum())
        deviations += float(deviation[counted].sum())
        entropies += float(entropy[counted].sum())
    return (deviations / count, entropies / count) if count else (None, None)


def spread_rows(spreads: Sequence[Spread]) -> list[dict[str, Any]]:
    """One row per layer and kind of attention."""
    return [
        {
            "chain": spread.chain.name,
            "layer": spread.layer + 1,
            "layers": spread.chain.depth,
            "attention": spread.attention,
            "logits_standard_deviation": spread.logits,
            "relative_entropy": spread.entropy,
        }
        for spread in spreads
    ]

"""Spread of the logits and entropy of the attention equal explicit sums in float64."""

import itertools
import math

import numpy as np
import pytest
import torch
from support.network_cases import CASES, build
from torch import nn

from nnunet_reca.blocks import SwinBlock, SwinStage
from nnunet_reca.blocks.attention import no_carry
from nnunet_reca.blocks.vit import VitEncoder
from nnunet_reca.explain import logits
from nnunet_reca.explain.attention import attention_of, recorded
from nnunet_reca.explain.chains import carry_chains
from nnunet_reca.explain.logits import measure, product_of, sharpness
from nnunet_reca.ops import frame_map, partition_windows

SIZE, WINDOW, SHIFT = (5, 7), (3, 4), (1, 2)


class Network(nn.Module):
    """A network that is a chain alone, of which the input is the image."""

    def __init__(self, chain):
        super().__init__()
        self.encoder = nn.Sequential(chain)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5)
        self.double().eval()

    def forward(self, x):
        return self.encoder(x)


def one_query(query, keys, bias):
    """Standard deviation and relative entropy of one query of one head."""
    values = np.array([float(query @ key) * len(query) ** -0.5 + b for key, b in zip(keys, bias, strict=True)])
    weights = np.exp(values) / np.exp(values).sum()
    return values.std(), -(weights * np.log(weights)).sum() / np.log(len(weights))


def sees(token, other, frame, shift):
    """Whether two places of the rolled frame lie in one window, and neither alone came round the edge."""
    same = all(a // w == b // w for a, b, w in zip(token, other, WINDOW, strict=True))
    return same and all((a >= s - d) == (b >= s - d) for a, b, s, d in zip(token, other, frame, shift, strict=True))


def explicit_stage(stage, x, carried):
    """(standard deviation, relative entropy) of each block, token by token."""
    found, q_hat, frame, state = [], 0, (6, 8), None
    heads = stage.blocks[0].attn.num_heads
    for block, shift in zip(stage.blocks, ((0, 0), SHIFT) * 2, strict=False):
        padded = torch.zeros(*frame, x.shape[-1], dtype=x.dtype)
        padded[: SIZE[0], : SIZE[1]] = block.norm1(x)[0]
        inside = torch.zeros(frame)
        inside[: SIZE[0], : SIZE[1]] = 1
        roll = {"shifts": [-d for d in shift], "dims": (0, 1)}
        q, k, _ = torch.roll(block.attn.qkv(padded), **roll).chunk(3, -1)
        q_hat = q + q_hat if carried else q
        inside, bias = torch.roll(inside, **roll), block.attn.relative_position_bias(WINDOW)
        query, key = (t.unflatten(-1, (heads, -1)) for t in (q_hat, k))
        numbers = []
        for head, token in itertools.product(range(heads), itertools.product(*map(range, frame))):
            seen = [o for o in itertools.product(*map(range, frame)) if sees(token, o, frame, shift)]
            if inside[token] and len(seen) > 1:
                local = [np.ravel_multi_index([a % w for a, w in zip(o, WINDOW, strict=True)], WINDOW) for o in seen]
                own = local[seen.index(token)]
                numbers.append(one_query(query[token][head], [key[o][head] for o in seen], bias[head, own, local]))
        found.append(np.mean(numbers, 0))
        x, state = block(x, state, (lambda q, s: (q if s is None else q + s,) * 2) if carried else no_carry)
    return found


def explicit_transformer(transformer, x, carried):
    found, q_hat = [], 0
    for block in transformer.blocks:
        q, k, v = block.attn.qkv(block.norm1(x)).chunk(3, -1)
        q_hat = q + q_hat if carried else q
        query, key, value = (t[0].unflatten(-1, (block.attn.num_heads, -1)).movedim(1, 0) for t in (q_hat, k, v))
        pairs = [one_query(q, ks, [0] * len(ks)) for qs, ks in zip(query, key, strict=True) for q in qs]
        found.append(np.mean(pairs, 0))
        weights = (query @ key.mT * query.shape[-1] ** -0.5).softmax(-1)
        x = x + block.attn.proj((weights @ value).movedim(0, 1).flatten(-2))
        x = x + block.mlp(block.norm2(x))
    return found


CHAINS = {
    "windows": (lambda: SwinStage(6, 2, 3, WINDOW), (1, *SIZE, 6), explicit_stage),
    "all tokens": (lambda: VitEncoder(8, 3, 2, 12), (1, 11, 8), explicit_transformer),
}


@pytest.mark.parametrize("most", [2**23, 40, 1])
@pytest.mark.parametrize("kind", CHAINS)
@torch.no_grad()
def test_spread_and_entropy_equal_explicit_sums_with_and_without_the_carry(kind, most, monkeypatch):
    """In one part, in parts of some queries, and query by query."""
    monkeypatch.setattr(logits, "MOST_LOGITS", most)
    torch.manual_seed(0)
    make, shape, explicit = CHAINS[kind]
    network = Network(make())
    (chain,), x = carry_chains(network), torch.randn(shape, dtype=torch.float64)
    spreads = measure(network, [chain], x)
    assert [(s.layer, s.attention) for s in spreads] == list(
        itertools.product(range(chain.depth), ("carry_on", "carry_off"))
    )
    for attention in ("carry_on", "carry_off"):
        got = [(s.logits, s.entropy) for s in spreads if s.attention == attention]
        np.testing.assert_allclose(got, explicit(chain.module, x, attention == "carry_on"), rtol=1e-9)
    first, last = spreads[:2], spreads[-2:]
    assert first[0].logits == first[1].logits and last[0].logits != last[1].logits, "the first layer has no carry"


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_softmax_of_the_logits_is_the_attention_of_every_networks_layers(case):
    network, arguments, shape = CASES[case]
    module, image = build(network, arguments).eval(), torch.randn(1, 2, *shape)
    chains = carry_chains(module)
    blocks = [block for chain in chains for block in chain.module.blocks]
    with recorded(blocks) as inputs:
        module(image)
    for block in blocks:
        product, grid = product_of(block, inputs[block]), inputs[block][0].shape[1:-1]
        numbers = torch.arange(1.0, math.prod(grid) + 1).reshape(1, *grid, 1)  # of tokens, 0 of padding
        if isinstance(block, SwinBlock):
            window, shift = block.fitted(grid)
            numbers = partition_windows(frame_map(numbers, window, shift), window)
        numbers = numbers.squeeze(-1).long()
        ((logits, visible, inside),) = product.parts()
        assert torch.equal(inside.squeeze(1), numbers > 0)
        weights = logits.where(visible, float("-inf")).softmax(-1)
        for token in {tuple(g // 2 for g in grid), tuple(g - 1 for g in grid)}:
            ((window_number, place),) = (numbers == np.ravel_multi_index(token, grid) + 1).nonzero().tolist()
            keys = numbers[window_number]
            expected = torch.zeros(product.query.shape[1], math.prod(grid))
            expected[:, keys[keys > 0] - 1] = weights[window_number, :, place, keys > 0]
            seen = attention_of(block, inputs[block], token, grid)
            torch.testing.assert_close(seen.weights.flatten(1), expected, atol=1e-5, rtol=1e-5)
    assert len(measure(module, chains, image)) == 2 * len(blocks)


@torch.no_grad()
def test_a_self_attention_twin_has_no_rows_of_a_carry():
    network, arguments, shape = CASES["swin_unet_2d"]
    twin = build(network, arguments, carry="none").eval()
    spreads = measure(twin, carry_chains(twin), torch.randn(1, 2, *shape))
    assert {s.attention for s in spreads} == {"self_attention"} and len(spreads) == 2 + 1 + 3 + 2


@torch.no_grad()
def test_attention_to_a_single_key_has_no_numbers():
    stage = SwinStage(6, 1, 3, (1, 1))
    assert sharpness(product_of(stage.blocks[0], (torch.randn(1, 3, 2, 6), None, no_carry))) == (None, None)


@torch.no_grad()
def test_uniform_attention_has_entropy_one_and_logits_without_spread():
    stage = SwinStage(6, 2, 3, WINDOW)
    for block in stage.blocks:
        for parameter in (*block.attn.qkv.parameters(), block.attn.relative_position_bias_table):
            nn.init.zeros_(parameter)
        numbers = sharpness(product_of(block, (torch.randn(1, *SIZE, 6), None, no_carry)))
        assert numbers == pytest.approx((0, 1))

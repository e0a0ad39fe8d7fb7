"""Deep chains in half precision: the carry is a sum of queries, and outgrows float16 long before a query does."""

import pytest
import torch

from nnunet_reca.blocks.stage import SwinStage
from nnunet_reca.blocks.vit import VitEncoder
from nnunet_reca.ops import carry_query, recurrent_attention

LAYERS, QUERY = 12, 3e4  # of 12 such queries, two fit into float16


def with_large_queries(network):
    """Every layer's queries are about ``QUERY``, whatever comes in."""
    for block in network.blocks:
        dim = block.attn.qkv.out_features // 3
        torch.nn.init.constant_(block.attn.qkv.bias[:dim], QUERY)
    return network


def stage(carry="sum"):
    return SwinStage(8, LAYERS, 2, [2, 3, 2], carry=carry), torch.randn(2, 4, 6, 5, 8)


def encoder():
    return VitEncoder(8, LAYERS, 2, 16), torch.randn(2, 10, 8)


@pytest.mark.parametrize(
    "make", [stage, lambda: stage("sum_spatial"), encoder], ids=["windows", "spatial", "sequential"]
)
def test_carry_beyond_float16_leaves_outputs_and_gradients_finite(make):
    torch.manual_seed(0)
    network, x = make()
    with torch.no_grad():
        with_large_queries(network)
    with torch.autocast("cpu", dtype=torch.float16):
        out = network(x)
    assert out.isfinite().all()
    out.float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_queries_add_up_in_float32(dtype):
    torch.manual_seed(0)
    queries = torch.randn(LAYERS, 3, 2, 5, 4).to(dtype)
    q_hat = None
    for q in queries:
        q_hat = carry_query(q, q_hat)
    assert q_hat.dtype == torch.float32
    torch.testing.assert_close(q_hat, queries.float().sum(0))


def test_clamped_query_attends_like_the_carry_it_stands_for():
    q = torch.full((1, 1, 3, 4), QUERY, dtype=torch.float16)
    k, v = torch.randn(2, 1, 1, 5, 4).half().unbind(0)
    out, q_hat = recurrent_attention(q, k, v, q.float() * (LAYERS - 1))
    assert q_hat.max() == LAYERS * QUERY
    weights = torch.softmax(q_hat @ k.float().mT / 2, dim=-1)
    torch.testing.assert_close(out.float(), weights @ v.float(), rtol=0, atol=2e-3)

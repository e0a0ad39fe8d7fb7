"""Deep chains in half precision: the carry is a sum of queries, and outgrows float16 long before a query does."""

import pytest
import torch

from nnunet_reca.blocks.conv import InstanceNorm
from nnunet_reca.blocks.stage import SwinStage
from nnunet_reca.blocks.vit import VitEncoder
from nnunet_reca.ops import carry_query, recurrent_attention, window_attention

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
@pytest.mark.parametrize("window", [(2, 3, 2), (4, 4, 4)], ids=["masked", "in pieces"])
def test_a_backward_pass_inside_of_autocast_works(window, dtype):
    torch.manual_seed(0)
    module = SwinStage(8, 2, 2, window)
    with torch.autocast("cpu", dtype=dtype):
        module(torch.randn(1, 4, 6, 5, 8)).float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_instance_norm_with_scale_keeps_the_dtype_under_autocast(dtype):
    norm, x = InstanceNorm(3), torch.randn(2, 3, 4, 5)
    expected = torch.nn.functional.instance_norm(x)
    with torch.autocast("cpu", dtype=dtype):
        out = norm(x.to(dtype))
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), expected, atol=0.05, rtol=0.05)


def test_a_scale_of_ones_own_does_not_overflow_the_clamped_query():
    query = torch.full((1, 1, 1, 4, 8), QUERY)
    k, v = torch.randn(2, 1, 1, 1, 4, 8).half().unbind(0)
    bias, options = torch.zeros(2, 4, 4), {"window": (1, 1, 4), "shift": (0, 0, 0), "padding": (None, None)}
    assert window_attention(query, k, v, bias, scale=4.0, **options).isfinite().all()


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

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from nnunet_reca.blocks import DualAttentionHead
from nnunet_reca.blocks.dual_attention import ChannelAttention, PositionAttention


def opened(attention):
    """With a gate of 0.7; it starts at 0."""
    torch.nn.init.constant_(attention.gate, 0.7)
    return attention.double()


def test_position_attention_is_unscaled_attention_over_all_positions():
    torch.manual_seed(0)
    attention = opened(PositionAttention(24))
    x = torch.randn(2, 24, 5, 7, dtype=torch.float64)
    q, k, v = attention.qkv(x).flatten(2).split([3, 3, 24], dim=1)
    expected = torch.einsum("bqk,bck->bcq", torch.einsum("bcq,bck->bqk", q, k).softmax(-1), v)
    torch.testing.assert_close(attention(x), x + 0.7 * expected.view_as(x))


def test_position_attention_runs_in_the_kernel_that_stores_no_matrix_of_all_positions():
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        attention = PositionAttention(24)
        attention(torch.randn(2, 24, 5, 7)).sum().backward()
    assert attention.qkv.weight.grad is not None


def test_channel_attention_equals_the_published_formula():
    torch.manual_seed(0)
    x = torch.randn(2, 6, 5, 7, dtype=torch.float64) / 4
    channels = x.flatten(2)
    energy = channels @ channels.mT
    weights = (energy.amax(-1, keepdim=True) - energy).softmax(-1)
    expected = x + 0.7 * (weights @ channels).view_as(x)
    torch.testing.assert_close(opened(ChannelAttention())(x), expected)


def test_closed_gates_leave_the_map_as_it_is():
    x = torch.randn(2, 8, 3, 5)
    assert torch.equal(PositionAttention(8)(x), x) and torch.equal(ChannelAttention()(x), x)


def test_channel_attention_survives_sums_that_overflow_float16():
    x = torch.rand(1, 4, 64, 64) * 10
    assert (x.flatten(2) @ x.flatten(2).mT).min() > torch.finfo(torch.float16).max
    attention = ChannelAttention()
    torch.nn.init.ones_(attention.gate)
    with torch.autocast("cpu", dtype=torch.float16):
        assert attention(x.half()).isfinite().all()


def test_head_with_few_channels_still_has_queries():
    head = DualAttentionHead(8).eval()
    assert head.position[1].qkv.weight.shape == (3, 1, 1, 1)
    assert head(torch.randn(1, 8, 3, 5)).shape == (1, 8, 3, 5)

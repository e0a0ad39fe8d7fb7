import pytest
import torch

from nnunet_reca.ops import join_heads, recurrent_attention, split_heads
from nnunet_reca.ops._masked_attention import attend_in_windows


def explicit(q, k, v, bias=0.0):
    return torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + bias, dim=-1) @ v


@pytest.fixture
def qkv():
    torch.manual_seed(0)
    return torch.randn(3, 6, 2, 5, 7, dtype=torch.float64).unbind(0)


def test_reca_without_carry_equals_self_attention(qkv):
    out, q_hat = recurrent_attention(*qkv)
    torch.testing.assert_close(out, explicit(*qkv))
    assert q_hat is qkv[0]


def test_carry_is_the_unscaled_running_sum_of_all_queries(qkv):
    q, k, v = qkv
    q_hat = None
    for layer in range(1, 4):
        out, q_hat = recurrent_attention(layer * q, k, v, q_hat)
    torch.testing.assert_close(q_hat, 6 * q)
    torch.testing.assert_close(out, explicit(6 * q, k, v))


def test_gradient_flows_through_the_carry(qkv):
    q, k, v = qkv
    first = q.clone().requires_grad_()
    _, q_hat = recurrent_attention(first, k, v)
    recurrent_attention(q, k, v, q_hat)[0].square().sum().backward()
    assert first.grad.abs().min() > 0


def test_bias_and_mask_act_per_window_and_per_head():
    torch.manual_seed(1)
    q, k, v = torch.randn(3, 2 * 3, 2, 5, 7, dtype=torch.float64)
    bias = torch.randn(2, 5, 5, dtype=torch.float64)
    mask = torch.rand(3, 5, 5) > 0.4
    mask |= torch.eye(5, dtype=torch.bool)
    out = attend_in_windows(q, k, v, bias, mask)
    for image in range(2):
        for window in range(3):
            i = image * 3 + window
            logits = torch.where(mask[window], bias, float("-inf"))
            expected = explicit(q[i], k[i], v[i], logits)
            torch.testing.assert_close(out[i], expected)


def test_split_heads_is_undone_by_joining():
    x = torch.randn(2, 5, 4 * 7)
    assert split_heads(x, 4).shape == (2, 4, 5, 7)
    assert torch.equal(join_heads(split_heads(x, 4)), x)

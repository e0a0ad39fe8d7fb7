"""Attention on a pretended GPU is the fused one, which keeps no weights, and a bias once for all windows."""

import pytest
import torch
from support.estimates import needs_estimates
from torch import nn
from torch.nn import functional as F

from nnunet_reca.memory.backends import CUDA
from nnunet_reca.memory.backward import backward
from nnunet_reca.memory.ledger import Kind, Ledger
from nnunet_reca.memory.pretend import Pretence

pytestmark = needs_estimates

WINDOWS, HEADS, N, WIDTH = 50, 2, 343, 16


@pytest.mark.parametrize("with_bias", [False, True])
def test_fused_attention_keeps_no_weights_and_one_bias(with_bias):
    ledger = Ledger(unit=1)
    pretence = Pretence(CUDA, ledger)
    kept = {}

    def pack(tensor):
        meta = tensor.meta
        kept[meta.untyped_storage()._cdata] = meta.untyped_storage().nbytes(), meta
        return tensor.detach()

    with pretence.active():
        q = nn.Parameter(torch.empty(WINDOWS, HEADS, N, WIDTH, dtype=torch.float16))
        bias = nn.Parameter(torch.empty(1, HEADS, N, N, dtype=torch.float16)) if with_bias else None
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            out = F.scaled_dot_product_attention(q, q, q, attn_mask=bias)
        assert out.shape == q.shape
        before = sum(ledger.now.values())
        backward([out.sum()], pretence)
        assert q.grad.shape == q.shape and (bias is None or bias.grad.shape == bias.shape)
    weights = WINDOWS * HEADS * N * N * 2
    assert sum(size for size, _ in kept.values()) < weights / 5
    # the gradient of the bias passes through memory for each window
    assert (sum(ledger.peak.values()) - before > weights) == with_bias
    assert Kind.TEMPORARIES in ledger.peak

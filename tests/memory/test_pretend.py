"""Bytes of small computations on pretended tensors, which can be counted by hand."""

import pytest
import torch
from support.estimates import needs_estimates
from torch import nn
from torch.utils.checkpoint import checkpoint

from nnunet_reca.memory.backends import CPU, CUDA
from nnunet_reca.memory.backward import backward
from nnunet_reca.memory.ledger import Kind, Ledger
from nnunet_reca.memory.pretend import Pretence

pytestmark = needs_estimates

N = 1024
MAP = 4 * N  # bytes of N numbers


def step(forward, parameters, device=CPU):
    """Bytes at the peak of forward and backward pass, and at the end; ``parameters`` have N numbers each."""
    ledger = Ledger(unit=MAP)  # scalars count as maps, so that each is seen
    pretence = Pretence(device, ledger)
    with pretence.active():
        weights = [nn.Parameter(torch.empty(N)) for _ in range(parameters)]
        ledger.mark([w.meta for w in weights], Kind.PARAMETERS)
        loss = [forward(torch.empty(N), *weights)]
        backward(loss, pretence)
        assert all(w.grad is not None and w.grad.device == device.device for w in weights)
    return sum(ledger.peak.values()) // MAP, {kind: size // MAP for kind, size in ledger.now.items() if size}


def test_peak_of_a_chain_is_that_counted_by_hand():
    # first x, w, x w and exp(x w); then x w is gone, and there are the gradients of the sum and of x w
    assert step(lambda x, w: (x * w).exp().sum(), 1) == (5, {Kind.PARAMETERS: 1, Kind.GRADIENTS: 1})


@pytest.mark.parametrize("device", [CPU, CUDA])
def test_what_is_saved_is_freed_on_the_way_back(device):
    def chain(x, w):
        for _ in range(10):
            w = w.exp()  # keeps its result
        return (w * x).sum()

    peak, left = step(chain, 1, device)
    assert 12 < peak <= 16
    assert left == {Kind.PARAMETERS: 1, Kind.GRADIENTS: 1}


def test_checkpoints_keep_their_input_only_and_compute_again_once():
    def layers(w):
        for _ in range(8):
            w = w.exp()
        return w

    def checkpointed(x, w):
        for _ in range(4):
            w = checkpoint(layers, w, use_reentrant=False)
        return (w * x).sum()

    def plain(x, w):
        for _ in range(4):
            w = layers(w)
        return (w * x).sum()

    assert step(plain, 1, CUDA)[0] >= 32
    assert step(checkpointed, 1, CUDA)[0] <= 18


def test_gradients_of_one_tensor_add_up_in_place():
    def fan(x, w):
        w = w * 2
        return torch.stack([(w * x).sum() for _ in range(9)]).sum()

    assert step(fan, 1)[0] <= 4 + 3 * 9  # x, w, 2 w; per branch a scalar, a product and its gradient at most


def test_mixed_precision_halves_what_products_keep():
    def product(x, w):
        with torch.autocast("cuda", dtype=torch.float16):
            return (w.view(32, 32) @ x.view(32, 32)).dtype

    with Pretence(CUDA, Ledger()).active():
        assert product(torch.empty(N), torch.empty(N)) == torch.float16


def test_views_share_a_storage_and_real_tensors_stay_real():
    real, ledger = torch.ones(2), Ledger()
    with Pretence(CUDA, ledger).active():
        a = torch.empty(N)
        b = a.view(32, 32).T[1:]
        assert (real + 1).device.type == "cpu"
        assert ledger.total == MAP
        del a
        assert ledger.total == MAP
        del b
        assert ledger.total == 0

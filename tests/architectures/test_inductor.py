"""torch.compile with its own backend, as nnU-Net uses it on a GPU; one small network, since it compiles for minutes.

Graphs of all networks are captured in ``test_networks.py``.
"""

import os
import shutil

import pytest
import torch
from support.network_cases import CASES, build

COMPILER = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")


@pytest.mark.slow
@pytest.mark.skipif(COMPILER is None, reason="torch.compile needs a C++ compiler on the CPU")
def test_compiled_outputs_and_gradients_equal_those_of_the_network():
    network, arguments, size = CASES["swin_unetr_2d_shallow"]
    arguments = {**arguments, "depths": [2]}  # a window, a shifted one, and the carry between them
    torch.manual_seed(0)
    x = torch.randn(1, 2, *size)
    model = build(network, arguments, deep_supervision=True)
    results = []
    for run in (model, torch.compile(model, fullgraph=True)):
        outputs = run(x)
        sum(o.square().mean() for o in outputs).backward()
        results.append((outputs, {n: p.grad for n, p in model.named_parameters()}))
        model.zero_grad(set_to_none=True)
    (expected, gradients), (compiled, compiled_gradients) = results
    for ours, theirs in zip(expected, compiled, strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4)
    for parameter, gradient in gradients.items():
        torch.testing.assert_close(compiled_gradients[parameter], gradient, rtol=1e-3, atol=1e-4, msg=parameter)

"""On a GPU the networks give what they give on the CPU, in values and gradients."""

import pytest
import torch
from support.network_cases import CASES, build

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.parametrize(("network", "arguments", "size"), CASES.values(), ids=CASES),
]


def results(model, x):
    """Outputs and gradients, on the CPU; without dropout, whose random numbers differ between devices."""
    outputs = model.eval()(x)
    sum(o.square().mean() for o in outputs).backward()
    return [o.detach().cpu() for o in outputs], {n: p.grad.cpu() for n, p in model.named_parameters()}


def test_outputs_and_float64_gradients_are_those_of_the_cpu(network, arguments, size):
    x = torch.randn(2, 2, *size, dtype=torch.float64)
    on_cpu = results(build(network, arguments, deep_supervision=True).double(), x)
    on_gpu = results(build(network, arguments, deep_supervision=True).double().cuda(), x.cuda())
    torch.testing.assert_close(on_gpu, on_cpu, atol=1e-9, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_mixed_precision_trains_with_finite_gradients(network, arguments, size, dtype):
    model = build(network, arguments, deep_supervision=True).cuda().train()
    with torch.autocast("cuda", dtype):
        outputs = model(torch.randn(2, 2, *size, device="cuda"))
    sum(o.float().square().mean() for o in outputs).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())

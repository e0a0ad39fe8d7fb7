"""Every network leaves PyTorch: torch.export, and ONNX checked with onnxruntime, at a fixed patch size.

The optimizer of ONNX models goes over them twice, which takes longer than all else: so it does for the first case of
each network; over the others it goes once.
"""

import onnxruntime
import pytest
import torch
from onnxscript.optimizer import optimize
from support.network_cases import CASES, FIRST, build
from torch.nn.attention import SDPBackend, sdpa_kernel


@pytest.mark.parametrize("case", CASES)
def test_exported_program_and_onnx_model_give_the_same_output(case, tmp_path):
    network, arguments, size = CASES[case]
    model = build(network, arguments).eval()
    x = torch.randn(1, 2, *size)
    with torch.no_grad():
        expected = model(x)
        # the fused attention of a backend fixes a memory layout that ONNX does not have
        with sdpa_kernel(SDPBackend.MATH):
            program = torch.export.export(model, (x,))
            onnx = torch.onnx.export(program, (x,), dynamo=True, verbose=False, optimize=case in FIRST)
        torch.testing.assert_close(program.module()(x), expected, atol=1e-5, rtol=1e-5)
    if case not in FIRST:
        optimize(onnx.model, num_iterations=1)
    onnx.save(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(output), expected, atol=1e-4, rtol=1e-4)

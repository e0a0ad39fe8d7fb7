"""Inference on the CPU, in parts, in slabs and by Winograd's convolution, gives what the network gives that learns."""

import pytest
import torch
from support.network_cases import CASES, build

from nnunet_reca.blocks import conv_patch, mlp
from nnunet_reca.blocks.conv_patch import ConvPatchEmbed
from nnunet_reca.blocks.slabs import convolution_in_slabs

#: one per network, and the others' geometries where they differ
NAMES = [n for n in CASES if n.startswith(("nnformer", "swin_unet_", "da_trans")) and not n.endswith("tiny")]


@pytest.mark.parametrize("name", NAMES)
def test_inference_in_parts_equals_the_network_that_learns(monkeypatch, name):
    network, arguments, size = CASES[name]
    monkeypatch.setattr(mlp, "PART", 1)
    monkeypatch.setattr(mlp, "TOKENS", 5)
    model = build(network, arguments, deep_supervision=True).double().eval()
    x = torch.randn(2, 2, *size, dtype=torch.float64)
    before, expected = x.clone(), model(x)
    with torch.no_grad():
        found = model(x)
        model.decoder.deep_supervision = False
        torch.testing.assert_close(model(x), expected[0], atol=1e-10, rtol=1e-9)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-9)
    assert torch.equal(x, before)


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("slab_bytes", [1, 1 << 30])
def test_convolution_in_slabs(slab_bytes, gelu):
    x, weight = torch.randn(2, 3, 11, 4, 5, dtype=torch.float64), torch.randn(7, 3, 3, 1, 3, dtype=torch.float64)
    bias = torch.randn(7, dtype=torch.float64)
    expected = torch.nn.functional.conv3d(x, weight, bias, padding=(1, 0, 1))
    expected = torch.nn.functional.gelu(expected) if gelu else expected
    with torch.no_grad():
        found = convolution_in_slabs(weight, bias, x, gelu=gelu, slab_bytes=slab_bytes)
    torch.testing.assert_close(found, expected)


def test_patch_embedding_runs_in_slabs_in_inference_and_errs_by_few_parts_in_a_hundred_thousand(monkeypatch):
    torch.manual_seed(0)
    embed, x = ConvPatchEmbed(1, 32, [[2, 2, 2], [1, 2, 2]]), torch.randn(2, 1, 24, 24, 40)
    expected = embed(x)
    called = []
    slabs = conv_patch.slabs.convolution_in_slabs
    counted = lambda *a, **k: called.append(1) or slabs(*a, **k)  # noqa: E731
    monkeypatch.setattr(conv_patch.slabs, "convolution_in_slabs", counted)
    with torch.no_grad():
        found = embed(x)
    assert len(called) == 2 and found.shape == expected.shape
    assert (found - expected).abs().max() < 5e-5 * expected.std()

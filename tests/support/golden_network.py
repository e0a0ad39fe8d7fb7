"""Compare a converted network with a golden case: float32 output, float64 loss and gradients."""

import dataclasses

import pytest
import torch
from torch import nn

from nnunet_reca.weights import Rule, load_renamed, rename
from support.golden_io import GoldenCase


def check_network(case: GoldenCase, network: nn.Module, rules: list[Rule]) -> None:
    """Load the case's weights through ``rules`` and check outputs (1e-4 absolute) and all gradients (1e-7 relative)."""
    state = case.state_dict()
    load_renamed(network.eval(), rename(state, rules))
    stems = case.stems("output")
    with torch.no_grad():
        outputs = as_list(network(case.array("input")))
    assert len(outputs) == len(stems)
    for output, stem in zip(outputs, stems, strict=True):
        torch.testing.assert_close(output, case.array(stem), atol=1e-4, rtol=0)

    network.double()
    x = case.array("input").double().requires_grad_()
    outputs = as_list(network(x))
    loss = sum((o * case.loss_weight(stem, o.shape)).sum() for o, stem in zip(outputs, stems, strict=True))
    loss.backward()
    recorded = case.gradients["f64"]
    assert loss.item() == pytest.approx(recorded["loss"], rel=1e-9)
    assert x.grad.norm().item() == pytest.approx(recorded["input_l2"]["input"], rel=1e-8)

    directions = rename({n: case.gradient_direction(n, t.shape) for n, t in state.items()}, rules)
    plain = [dataclasses.replace(rule, transform=None) for rule in rules]
    # parameters that the published network never uses have no gradient there, and must not exist here
    used = [n for n, l2 in recorded["l2"].items() if l2 is not None]
    pairs = {n: torch.tensor([[recorded[k][n] for k in ("l2", "dot")]], dtype=torch.float64) for n in used}
    recorded_pairs = rename(pairs, plain)
    parameters = dict(network.named_parameters())
    assert parameters.keys() == recorded_pairs.keys()
    for name, parameter in parameters.items():
        l2, dot = recorded_pairs[name][:, 0].norm().item(), recorded_pairs[name][:, 1].sum().item()
        assert parameter.grad.norm().item() == pytest.approx(l2, rel=1e-7, abs=1e-8), name
        actual = (parameter.grad * directions[name]).sum().item()
        assert actual == pytest.approx(dot, rel=1e-7, abs=1e-7 * max(1.0, l2)), name


def as_list(output: torch.Tensor | list[torch.Tensor]) -> list[torch.Tensor]:
    return output if isinstance(output, list) else [output]

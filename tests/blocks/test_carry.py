"""Every kind of carry against an explicit loop over the layers in float64."""

from functools import partial

import pytest
import torch

from nnunet_reca.blocks import SwinStage, VitEncoder, carry
from nnunet_reca.blocks.carry import CARRIES, NoCarry, parse_carry

DEPTH, HEADS, DIM = 4, 3, 12
KINDS = pytest.mark.parametrize("kind", [k for k in CARRIES if k != "none"])


def random_gates(module):
    for part in module.modules():
        if isinstance(part, carry.GatedCarry):
            torch.nn.init.normal_(part.gate)
    return module


def by_head(x, factors):
    return (x.unflatten(-1, (HEADS, -1)) * factors.unsqueeze(-1)).flatten(-2)


def explicit(kind, queries, gate=None):
    """The queries of all layers' attention, by the formulas of the classes' docstrings."""
    sums = list(torch.stack(queries).cumsum(0))
    if kind == "sum":
        return sums
    if kind == "detached":
        return [q + (s - q).detach() for q, s in zip(queries, sums, strict=True)]
    if kind == "mean":
        return [s / (i + 1) for i, s in enumerate(sums)]
    if kind == "previous":
        return [queries[0], *(a + b for a, b in zip(queries[:-1], queries[1:], strict=True))]
    if kind == "normed":
        lengths = [x.unflatten(-1, (HEADS, -1)).norm(dim=-1) for x in (*queries, *sums)]
        return [by_head(s, lengths[i] / lengths[DEPTH + i]) for i, s in enumerate(sums)]
    assert kind == "gated"
    found = [queries[0]]
    for i, q in enumerate(queries[1:]):
        found.append(q + by_head(found[-1], gate[i]))
    return found


def chain(kind, queries, *, dtype=torch.float64):
    """The carry as a chain calls it."""
    torch.manual_seed(1)
    module, state, found = random_gates(CARRIES[kind](DEPTH, HEADS)).to(dtype), None, []
    for layer, q in enumerate(queries):
        query, state = module(q, state, layer)
        found.append(query)
    return module, found


def own_queries(dtype=torch.float64):
    torch.manual_seed(0)
    return [q.to(dtype) for q in torch.randn(DEPTH, 2, 5, 7, DIM, dtype=torch.float64)]


@KINDS
def test_queries_and_gradients_are_those_of_the_formula(kind):
    queries = [q.requires_grad_() for q in own_queries()]
    module, found = chain(kind, queries)
    gate = getattr(module, "gate", None)
    expected = explicit(kind, queries, gate)
    torch.testing.assert_close(found, expected)
    wrt = [*queries, *([] if gate is None else [gate])]
    weights = [torch.randn_like(q) for q in queries]
    ours, theirs = (
        torch.autograd.grad(sum((x * w).sum() for x, w in zip(y, weights, strict=True)), wrt) for y in (found, expected)
    )
    torch.testing.assert_close(ours, theirs)


@KINDS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_carried_in_float32(kind, dtype):
    queries = [q * 1e4 if dtype == torch.float16 else q for q in own_queries(dtype)]
    module, found = chain(kind, queries, dtype=torch.float32)
    gate = module.gate.double() if kind == "gated" else None
    expected = explicit(kind, [q.double() for q in queries], gate)
    for query, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(query.double(), wanted, rtol=2e-3, atol=2e-3 * wanted.abs().max().item())
    assert all(q.isfinite().all() for q in found)


def test_a_query_of_zeros_leaves_gradients_finite():
    queries = [torch.zeros(1, 2, DIM, requires_grad=True) for _ in range(DEPTH)]
    _, found = chain("normed", queries, dtype=torch.float32)
    sum(f.sum() for f in found).backward()
    assert all(q.grad.isfinite().all() for q in queries)


STAGES = {
    "windows": (lambda c: SwinStage(DIM, DEPTH, HEADS, (3, 5), carry=c), (2, 7, 11, DIM)),
    "pieces": (lambda c: SwinStage(DIM, DEPTH, HEADS, (4, 16), carry=c), (1, 7, 18, DIM)),
    "sequential": (lambda c: VitEncoder(DIM, DEPTH, HEADS, 24, carry=c), (2, 13, DIM)),
}
EACH = pytest.mark.parametrize("stage", STAGES)


def made(stage, kind):
    torch.manual_seed(0)
    make, shape = STAGES[stage]
    return random_gates(make(kind)).double(), torch.randn(shape, dtype=torch.float64)


@EACH
@KINDS
def test_layers_attend_with_the_carrys_query(stage, kind):
    """Each layer, run alone with the query of the formula in the place of its own, gives what it gives in the chain."""
    module, x = made(stage, kind)
    inputs, own = [], []
    hooks = [b.register_forward_pre_hook(lambda m, args: inputs.append(args)) for b in module.blocks]
    expected = module(x)
    for hook in hooks:
        hook.remove()

    def note(q, state):
        own.append(q)
        return q, None

    for block, given in zip(module.blocks, inputs, strict=True):
        block(given[0], None, note)
    queries = explicit(kind, own, getattr(module.carry, "gate", None))
    for block, given, query in zip(module.blocks, inputs, queries, strict=True):
        x, _ = block(given[0], None, lambda q, state, query=query: (query, None))
    torch.testing.assert_close(module.norm(x) if stage == "sequential" else x, expected)


@EACH
@KINDS
def test_a_compiled_chain_gives_the_same_outputs_and_gradients(stage, kind):
    module, x = made(stage, kind)
    torch._dynamo.reset()
    found = []
    for run in (module, torch.compile(module, backend="eager", fullgraph=True)):
        module.zero_grad()
        out = run(x)
        out.square().sum().backward()
        found.append((out, [p.grad.clone() for p in module.parameters()]))
    torch.testing.assert_close(*found)


@KINDS
def test_spatial_alignment_moves_the_state_of_every_kind(kind):
    """Of two aligned blocks, the second one's state from the first lies where the first one's windows put it."""
    torch.manual_seed(0)
    stage = random_gates(SwinStage(DIM, 2, HEADS, (3, 5), carry=f"{kind}_spatial")).double()
    x, states = torch.randn(1, 6, 10, DIM, dtype=torch.float64), []
    first = stage.blocks[0](x, None, partial(stage.carry, layer=0))[1]
    stage.blocks[1].register_forward_pre_hook(lambda module, args: states.append(args[1]))
    stage(x)
    torch.testing.assert_close(states[0], torch.roll(first, (-1, -2), dims=(1, 2)))


@KINDS
def test_only_gates_have_parameters_and_start_as_self_attention(kind):
    module, x = made("windows", "none")
    other = STAGES["windows"][0](kind).double()
    missing, unexpected = other.load_state_dict(module.state_dict(), strict=False)
    assert unexpected == [] and missing == (["carry.gate"] if kind == "gated" else [])
    assert torch.allclose(other(x), module(x)) == (kind == "gated")


def test_a_chain_of_one_layer_has_no_gate():
    assert list(SwinStage(DIM, 1, HEADS, (3, 5), carry="gated").carry.parameters()) == []


def test_every_kind_is_parsed_with_and_without_alignment():
    for kind, made_by in CARRIES.items():
        assert parse_carry(kind) == (kind, False)
        if made_by is not NoCarry:
            assert parse_carry(f"{kind}_spatial") == (kind, True)

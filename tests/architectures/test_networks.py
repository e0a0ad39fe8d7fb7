"""One test of everything that any network of the package promises."""

import pytest
import torch
from support.network_cases import CASES, FIRST, build
from torch._dynamo.testing import CompileCounter

EACH = pytest.mark.parametrize(("network", "arguments", "size"), CASES.values(), ids=CASES)


def away_from_start(model):
    """Noise on all parameters: gates that start at zero hide what lies behind them, and fresh attention is flat."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@EACH
def test_output_has_the_size_of_the_input_and_deep_supervision_every_scale(network, arguments, size):
    model = build(network, arguments)
    x = torch.randn(2, 2, *size)
    assert model(x).shape == (2, 5, *size)
    model.decoder.deep_supervision = True
    scale, expected = size, []
    for stride in arguments["strides"][: len(model.decoder.seg_layers)]:
        scale = tuple(n // s for n, s in zip(scale, stride, strict=True))
        expected.append((2, 5, *scale))
    assert [tuple(o.shape) for o in model(x)] == expected


@EACH
def test_weights_load_with_deep_supervision_on_or_off(network, arguments, size):
    model = build(network, arguments, deep_supervision=True).eval()
    other = build(network, arguments, deep_supervision=False).eval()
    other.load_state_dict(model.state_dict(), strict=True)
    x = torch.randn(1, 2, *size)
    assert torch.equal(model(x)[0], other(x))


@EACH
def test_every_parameter_receives_a_gradient(network, arguments, size):
    model = away_from_start(build(network, arguments, deep_supervision=True)).eval()  # no branch is dropped by chance
    sum(o.square().mean() for o in model(torch.randn(2, 2, *size))).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # the key bias shifts all logits of a query alike, which softmax ignores; it is part of qkv.bias
    assert without == []


@EACH
def test_twins_have_identical_state_dicts_and_differ_in_output(network, arguments, size):
    reca, sa = (away_from_start(build(network, arguments, carry=c)).eval() for c in ("sum", "none"))
    sa.load_state_dict(reca.state_dict(), strict=True)
    x = torch.randn(1, 2, *size)
    assert not torch.allclose(reca(x), sa(x), atol=1e-5)


@EACH
def test_carry_resets_between_forward_calls(network, arguments, size):
    model = build(network, arguments).eval()
    x = torch.randn(1, 2, *size)
    first = model(x)
    model(torch.randn_like(x))
    assert torch.equal(model(x), first)


@EACH
def test_segmentation_heads_lie_where_pretrained_loading_skips_them(network, arguments, size):
    model = build(network, arguments)
    by_classes = [n for n, p in model.named_parameters() if p.shape[:1] == (5,)]
    assert by_classes and all(n.startswith("decoder.seg_layers.") for n in by_classes)


@EACH
def test_input_that_the_strides_do_not_divide_raises(network, arguments, size):
    with pytest.raises(ValueError, match="expected sides that are multiples of"):
        build(network, arguments)(torch.randn(1, 2, size[0] + 1, *size[1:]))


@EACH
def test_backward_after_an_inference_mode_pass_works(network, arguments, size):
    model = build(network, arguments)
    x = torch.randn(1, 2, *size)
    with torch.inference_mode():
        model(x)
    model(x).sum().backward()


@EACH
def test_nnunet_initialisation_leaves_no_dead_start(network, arguments, size):
    model = build(network, arguments)
    model.apply(model.initialize)
    output = model(torch.randn(1, 2, *size))
    assert output.isfinite().all() and 1e-3 < output.std() < 1e3


@pytest.mark.parametrize("case", CASES)
def test_compiles_without_graph_breaks_and_without_recompiling_for_what_was_seen(case):
    """Training and evaluation, deep supervision on and off, batches of two and of one, as nnU-Net runs them.

    All of them once in each network; its other geometries in training, as the next graphs differ from it in a flag.
    """
    network, arguments, size = CASES[case]
    runs = ((True, True, 2), (False, True, 2), (False, False, 1))[: 3 if case in FIRST else 1]
    torch._dynamo.reset()
    counter = CompileCounter()
    model = build(network, arguments)
    compiled = torch.compile(model, backend=counter, fullgraph=True)
    seen = []
    for _ in range(2):
        for training, deep, batch in runs:
            model.train(training)
            model.decoder.deep_supervision = deep
            with torch.set_grad_enabled(training):
                compiled(torch.randn(batch, 2, *size))
        seen.append(counter.frame_count)
    assert seen[0] == seen[1] <= len(runs)


@EACH
def test_without_deep_supervision_only_the_finest_head_is_trained(network, arguments, size):
    model = build(network, arguments, deep_supervision=False)
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    coarser = [n for n, _ in model.named_parameters() if n.startswith("decoder.seg_layers.")]
    assert frozen == {n for n in coarser if not n.startswith("decoder.seg_layers.0.")}
    model(torch.randn(2, 2, *size)).square().mean().backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def gradients(network, arguments, x, **more):
    """Outputs, and gradients of all parameters, in training mode."""
    model = build(network, arguments, deep_supervision=True, **more).double().train()
    torch.manual_seed(1)
    outputs = model(x)
    sum(o.square().mean() for o in outputs).backward()
    return outputs, {n: p.grad for n, p in model.named_parameters()}


@EACH
def test_checkpointing_leaves_outputs_and_gradients_alone(network, arguments, size):
    """Dropout and drop-path included."""
    x = torch.randn(2, 2, *size, dtype=torch.float64)
    kept, computed_again = (gradients(network, arguments, x, use_checkpoint=u) for u in (False, True))
    torch.testing.assert_close(computed_again, kept)


@pytest.mark.parametrize("case", ["swin_unetr_2d_shallow", "nnformer_2d_two_stages", "swin_unet_2d"])
@pytest.mark.parametrize("carry", ["sum", "sum_spatial"])
def test_a_compiled_graph_gives_the_networks_outputs_and_gradients(case, carry):
    """Large windows: in pieces on the CPU, masked in the graph, as on all other devices."""
    torch._dynamo.reset()
    network, arguments, size = CASES[case]
    windows = [[8, 9], *arguments["window_sizes"][1:]]
    model = build(network, {**arguments, "window_sizes": windows}, deep_supervision=True, carry=carry).double().eval()
    x = torch.randn(2, 2, *size, dtype=torch.float64)
    found = []
    for run in (model, torch.compile(model, backend="eager", fullgraph=True)):
        model.zero_grad()
        outputs = run(x)
        sum(o.square().mean() for o in outputs).backward()
        found.append((outputs, [p.grad.clone() for p in model.parameters()]))
    torch.testing.assert_close(*found, atol=1e-9, rtol=1e-6)

"""The recipe's AdamW: clipping and skipping inside its fused pass equal clipping before a plain step."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from nnunet_reca.trainers import optimizer as optimizer_module
from nnunet_reca.trainers.recipe import BASE, build_optimizer, parameter_groups

IMPLEMENTATIONS = ["fused", "other"]


@pytest.fixture(params=IMPLEMENTATIONS)
def implementation(request, monkeypatch):
    use(request.param, monkeypatch)
    return request.param


def use(implementation, monkeypatch):
    monkeypatch.setattr(optimizer_module, "FUSED", frozenset({"cpu"} if implementation == "fused" else ()))


def small_network(layout=torch.contiguous_format):
    """A few matrices and kernels, and many small parameters."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 5, 3), nn.Conv2d(5, 7, 1), nn.Linear(11, 13), *(nn.LayerNorm(3) for _ in range(40))]
    return nn.Sequential(*layers).double().to(memory_format=layout)


def set_gradients(network, seed, factor):
    """Gradients whose norm is ``factor`` in all, in the layout that autograd gives them."""
    generator = torch.Generator().manual_seed(seed)
    gradients = [torch.randn(p.shape, dtype=p.dtype, generator=generator) for p in network.parameters()]
    norm = torch.cat([g.flatten() for g in gradients]).norm()
    for parameter, gradient in zip(network.parameters(), gradients, strict=True):
        parameter.grad = torch.empty_like(parameter).copy_(gradient * (factor / norm))


def snapshot(network, optimizer):
    return copy.deepcopy([[p.detach() for p in network.parameters()], list(optimizer.state.values())])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_steps_equal_those_of_a_plain_adamw_on_clipped_gradients(implementation, layout):
    network, plain = small_network(layout), small_network()
    optimizer = build_optimizer(network, BASE)
    reference = torch.optim.AdamW(
        parameter_groups(plain, BASE.weight_decay), lr=BASE.initial_lr, betas=BASE.betas, foreach=False
    )
    for seed, factor in enumerate((30.0, 0.2, 1.0, 7.0)):
        for model in (network, plain):
            set_gradients(model, seed, factor)
        nn.utils.clip_grad_norm_(plain.parameters(), BASE.gradient_norm)
        optimizer.step()
        reference.step()
    for parameter, expected in zip(network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(parameter, expected, atol=1e-9, rtol=0)
        torch.testing.assert_close(parameter.grad, expected.grad, rtol=2e-6, atol=0)


def test_a_step_that_fails_leaves_the_next_one_as_it_would_be(implementation):
    networks = [small_network(), small_network()]
    optimizers = [build_optimizer(network, BASE) for network in networks]

    def fail(*arguments):
        raise RuntimeError("out of memory")

    set_gradients(networks[0], 0, 30.0)
    hook = optimizers[0].register_step_pre_hook(fail)  # after ours
    with pytest.raises(RuntimeError):
        optimizers[0].step()
    hook.remove()
    for network, optimizer in zip(networks, optimizers, strict=True):
        set_gradients(network, 1, 0.5)
        optimizer.step()
    for first, second in zip(*(network.parameters() for network in networks), strict=True):
        torch.testing.assert_close(first, second, atol=0, rtol=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_gradient_that_is_not_finite_changes_neither_parameters_nor_state(implementation, value):
    network = small_network()
    optimizer = build_optimizer(network, BASE)
    set_gradients(network, 0, 5.0)
    optimizer.step()
    before = snapshot(network, optimizer)
    set_gradients(network, 1, 5.0)
    network[0].weight.grad[0, 0, 0, 0] = value
    optimizer.step()
    torch.testing.assert_close(snapshot(network, optimizer), before, atol=0, rtol=0)
    set_gradients(network, 2, 5.0)
    optimizer.step()
    assert all(state["step"] == 2 for state in optimizer.state.values()), "the next step is a step again"


@pytest.mark.parametrize("unscaled_before", [True, False])
def test_gradient_scaler_scales_before_the_norm_is_clipped(implementation, unscaled_before):
    scaled, plain = small_network(), small_network()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    optimizers = [build_optimizer(model, BASE) for model in (scaled, plain)]
    for seed, factor in enumerate((3.0, 0.5)):
        set_gradients(scaled, seed, factor * 1024)
        set_gradients(plain, seed, factor)
        scaler.scale(torch.zeros(()))
        if unscaled_before or implementation == "other":  # other optimizers have to be told
            scaler.unscale_(optimizers[0])
        scaler.step(optimizers[0])
        scaler.update()
        optimizers[1].step()
    for parameter, expected in zip(scaled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(parameter, expected, atol=1e-12, rtol=0)
    assert not {"grad_scale", "found_inf"} & vars(optimizers[0]).keys()


@pytest.mark.parametrize("reader", IMPLEMENTATIONS)
@pytest.mark.parametrize("writer", IMPLEMENTATIONS)
def test_checkpoint_loads_with_either_implementation_and_memory_format(monkeypatch, writer, reader):
    """The step after it is that of the training which was not interrupted."""
    use(writer, monkeypatch)
    network = small_network()
    optimizer = build_optimizer(network, BASE)
    set_gradients(network, 0, 5.0)
    optimizer.step()
    file = io.BytesIO()
    torch.save([network.state_dict(), optimizer.state_dict()], file)
    file.seek(0)
    weights, state = torch.load(file, weights_only=True)

    use(reader, monkeypatch)
    resumed = small_network(torch.channels_last)
    resumed.load_state_dict(weights)
    resumed_optimizer = build_optimizer(resumed, BASE)
    resumed_optimizer.load_state_dict(state)
    for seed, factor in ((1, 9.0), (2, float("nan")), (3, 0.3)):
        for model, step in ((network, optimizer.step), (resumed, resumed_optimizer.step)):
            set_gradients(model, seed, factor)
            use(writer if model is network else reader, monkeypatch)
            step()
    for parameter, expected in zip(resumed.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(parameter, expected, atol=1e-9, rtol=0)
    assert bool(resumed_optimizer.param_groups[0]["fused"]) == (reader == "fused")


def test_fused_step_reads_nothing_back_from_the_device():
    class Seen(TorchDispatchMode):
        names: list[str] = []  # noqa: RUF012

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.names.append(function.overloadpacket.__name__)
            return function(*args, **(kwargs or {}))

    network = small_network()
    optimizer = build_optimizer(network, BASE)
    set_gradients(network, 0, 5.0)
    optimizer.step()  # makes the state
    with Seen() as seen:
        optimizer.step()
    assert any("fused_adamw" in name for name in seen.names)
    assert not {"_local_scalar_dense", "item", "is_nonzero", "equal"} & set(seen.names)
    assert len(seen.names) < 30, "small parameters go through the step together"

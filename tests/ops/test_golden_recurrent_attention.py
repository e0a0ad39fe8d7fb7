"""The operator against the published one: outputs, carries, gradients."""

import functools
import itertools
import math

import pytest
import torch
from support.golden_io import GoldenCase, golden_cases
from torch import Tensor
from torch.nn import functional as F

from nnunet_reca.blocks import SumCarry, WindowAttention, WindowCrossAttention
from nnunet_reca.ops import (
    join_heads,
    merge_windows,
    partition_windows,
    recurrent_attention,
    shift_map,
    shifted_window_mask,
    split_heads,
)

TAGS = [f"mem{carry}_mask{mask}" for carry in (0, 1) for mask in (0, 1)]
WINDOWED = golden_cases("window")


def index_scheme(case: GoldenCase) -> str:
    return "nnformer" if "nnFormer" in case.config["reference_file"].split("/")[-1] else "cropped"


def build(case: GoldenCase, kind: type[WindowAttention] | type[WindowCrossAttention]):
    c = case.config["constructor"]
    options = {"qkv_bias": c.get("qkv_bias", True), "scale": c.get("qk_scale"), "index_scheme": index_scheme(case)}
    attention = kind(c["dim"], c["num_heads"], c["window_size"], **options)
    attention.load_state_dict({n: t for n, t in case.state_dict().items() if n != "relative_position_index"})
    return attention.double()


def map_of(window: list[int], windows: int, mask: Tensor | None) -> tuple[list[int], tuple[int, ...]]:
    """Size and shift of a map that is cut into so many windows, among which the mask allows attention."""
    counts = [c for c in itertools.product(range(1, windows + 1), repeat=len(window)) if math.prod(c) == windows]
    for count in counts:
        size = [w * c for w, c in zip(window, count, strict=True)]
        if mask is None:
            return size, (0,) * len(window)
        for shift in itertools.product(*map(range, window)):
            if any(shift) and torch.equal(shifted_window_mask(size, window, shift), mask):
                return size, shift
    raise AssertionError(f"no map of {windows} windows has this mask")


def attend(attention: WindowAttention, x: Tensor, q_hat: Tensor | None, mask: Tensor | None, window: list[int]):
    """Attention on the map whose windows are (windows, N, dim); outputs and carry in windows, too."""
    size, shift = map_of(window, len(x) if mask is None else len(mask), mask)
    frame = merge_windows(x, window, size)
    state = None if q_hat is None else merge_windows(join_heads(q_hat), window, size)
    carry = functools.partial(SumCarry(1, attention.num_heads), layer=0)
    unshifted = shift_map(frame, [-d for d in shift])
    out, state = attention(unshifted, state, carry, window=window, shift=shift)
    carried = split_heads(partition_windows(state, window), attention.num_heads)
    return partition_windows(shift_map(out, shift), window), carried


def check_close(actual: Tensor, case: GoldenCase, stem: str) -> None:
    torch.testing.assert_close(actual.float(), case.array(stem), atol=5e-6, rtol=0)


def check_gradients(case: GoldenCase, recorded: dict, parameters: dict[str, Tensor], inputs: dict[str, Tensor]) -> None:
    """Ours are float64, the recorded ones carry float32's error: 1e-5 of the gradient's norm."""
    for tensors, l2, dot in (
        (parameters, recorded["l2"], recorded["dot"]),
        (inputs, recorded["input_l2"], recorded["input_dot"]),
    ):
        assert tensors.keys() == l2.keys()
        for name, tensor in tensors.items():
            tolerance = 1e-5 * max(1.0, l2[name])
            assert tensor.grad.norm().item() == pytest.approx(l2[name], rel=0, abs=tolerance), name
            direction = case.gradient_direction(name, tensor.shape)
            assert (tensor.grad * direction).sum().item() == pytest.approx(dot[name], rel=0, abs=tolerance), name


@pytest.mark.parametrize("loss_name", ["loss_output", "loss_output_and_memory"])
@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("case", WINDOWED, ids=str)
def test_golden_window_attention_outputs_carry_and_gradients(case, tag, loss_name):
    attention = build(case, WindowAttention)
    x = case.array("input").double().requires_grad_()
    q_hat = case.array("memory_in").double().requires_grad_() if "mem1" in tag else None
    mask = case.array("mask") == 0 if "mask1" in tag else None
    out, carried = attend(attention, x, q_hat, mask, attention.window_size)
    check_close(out, case, f"output_{tag}")
    check_close(carried, case, f"memory_out_{tag}")

    loss = (out * case.loss_weight(f"output_{tag}", out.shape)).sum()
    if loss_name == "loss_output_and_memory":
        loss = loss + (carried * case.loss_weight(f"memory_out_{tag}", carried.shape)).sum()
    loss.backward()
    recorded = case.gradients[f"{tag}/{loss_name}"]
    assert loss.item() == pytest.approx(recorded["loss"], abs=1e-4)
    inputs = {"input": x} if q_hat is None else {"input": x, "memory_in": q_hat}
    check_gradients(case, recorded, dict(attention.named_parameters()), inputs)


@pytest.mark.parametrize("case", [c for c in WINDOWED if (c.folder / "input_shrunk.npy").exists()], ids=str)
def test_golden_shrunk_window_with_cropped_index(case):
    full = case.config["constructor"]["window_size"]
    tokens = case.array("input_shrunk").shape[1]
    # the cropped index depends on the number of tokens alone
    window = next(w for w in itertools.product(*(range(1, side + 1) for side in full)) if math.prod(w) == tokens)
    x, q_hat = case.array("input_shrunk").double(), case.array("memory_in_shrunk").double()
    out, carried = attend(build(case, WindowAttention), x, q_hat, None, window)
    check_close(out, case, "output_shrunk")
    check_close(carried, case, "memory_out_shrunk")


@pytest.mark.parametrize("case", golden_cases("cross"), ids=str)
def test_golden_window_cross_attention_output_and_gradients(case):
    attention = build(case, WindowCrossAttention)
    inputs = {n: case.array(n).double().requires_grad_() for n in ("input_x_up", "input_skip")}
    window = attention.window_size
    maps = (x.unflatten(1, window) for x in inputs.values())  # a window is a map
    out = attention(*maps).flatten(1, -2)
    check_close(out, case, "output")
    (out * case.loss_weight("output", out.shape)).sum().backward()
    check_gradients(case, case.gradients, dict(attention.named_parameters()), inputs)


def reca_s_layers(case: GoldenCase, state: dict[str, Tensor], x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Plain layers with a sequential, un-split carry (RecA-S), spelled out on the operator."""
    heads = case.config["constructor"]["num_heads"]
    outputs, carries, hidden, q_hat = [], [], x, None
    for i in range(case.config["constructor"]["layers"]):

        def project(value: Tensor, name: str, layer: int = i) -> Tensor:
            return F.linear(value, state[f"{layer}.{name}.weight"], state[f"{layer}.{name}.bias"])

        q, k, v = (
            project(hidden, name).unflatten(-1, (heads, -1)).transpose(1, 2) for name in ("query", "key", "value")
        )
        attended, q_hat = recurrent_attention(q, k, v, q_hat)
        hidden = project(attended.transpose(1, 2).flatten(2), "out")
        outputs.append(hidden)
        carries.append(q_hat.transpose(1, 2).flatten(2))
    return outputs, carries


@pytest.mark.parametrize("loss_name", ["loss_last_output", "loss_last_output_and_memory"])
@pytest.mark.parametrize("case", golden_cases("sequential"), ids=str)
def test_golden_sequential_carry_outputs_and_gradients(case, loss_name):
    state = {n: t.double().requires_grad_() for n, t in case.state_dict().items()}
    x = case.array("input").double().requires_grad_()
    outputs, carries = reca_s_layers(case, state, x)
    for i, (output, carry) in enumerate(zip(outputs, carries, strict=True)):
        check_close(output, case, f"output_layer{i}")
        check_close(carry, case, f"memory_out_layer{i}")
    recorded = case.gradients[loss_name]
    values = {f"output_layer{i}": t for i, t in enumerate(outputs)}
    values |= {f"memory_out_layer{i}": t for i, t in enumerate(carries)}
    sum((values[n] * case.loss_weight(n, values[n].shape)).sum() for n in recorded["loss_outputs"]).backward()
    check_gradients(case, recorded, state, {"input": x})

from functools import partial

import pytest
import torch

from nnunet_reca.blocks import SumCarry, SwinStage, VitEncoder, WindowAttention, WindowCrossAttention
from nnunet_reca.ops import shift_map

TWINS = {
    "windows_2d": (lambda carry, depth: SwinStage(12, depth, 3, (3, 5), carry=carry), (2, 7, 11, 12)),
    "windows_3d": (lambda carry, depth: SwinStage(12, depth, 3, (3, 2, 5), carry=carry), (2, 4, 5, 7, 12)),
    "sequential": (lambda carry, depth: VitEncoder(12, depth, 3, 24, carry=carry), (2, 13, 12)),
}
EACH = pytest.mark.parametrize(("build", "shape"), TWINS.values(), ids=TWINS)


def twins(build, depth):
    torch.manual_seed(0)
    reca, sa = (build(carry, depth).double().eval() for carry in ("sum", "none"))
    with torch.no_grad():
        for p in reca.parameters():
            p.add_(torch.randn_like(p) * 0.2)
    sa.load_state_dict(reca.state_dict(), strict=True)
    return reca, sa


@EACH
def test_twins_have_identical_state_dicts(build, shape):
    shapes = [{n: t.shape for n, t in module.state_dict().items()} for module in twins(build, 3)]
    assert shapes[0] == shapes[1]


@EACH
def test_reca_equals_self_attention_in_the_first_layer_only(build, shape):
    x = torch.randn(shape, dtype=torch.float64)
    for depth, equal in ((1, True), (2, False)):
        reca, sa = twins(build, depth)
        assert torch.allclose(reca(x), sa(x)) == equal


@EACH
def test_carry_resets_between_forward_calls(build, shape):
    reca, _ = twins(build, 3)
    x = torch.randn(shape, dtype=torch.float64)
    first = reca(x)
    reca(torch.randn_like(x))
    assert torch.equal(reca(x), first)


@EACH
def test_images_of_a_batch_do_not_see_each_other(build, shape):
    reca, _ = twins(build, 2)
    x = torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(reca(x)[1:], reca(x[1:]))


def test_third_block_gets_the_sum_of_both_queries_before():
    """Were only the query before carried, cutting the first block's carry would change nothing."""
    reca, _ = twins(TWINS["windows_2d"][0], 3)
    x = torch.randn(TWINS["windows_2d"][1], dtype=torch.float64)
    blocks, carry = reca.blocks, partial(SumCarry(3, 3), layer=0)
    x1, q1 = blocks[0](x, None, carry)
    x2, q2 = blocks[1](x1, q1, carry)
    x3, q3 = blocks[2](x2, q2, carry)
    torch.testing.assert_close(reca(x), x3)
    torch.testing.assert_close(q3 - q2, blocks[2](x2, None, carry)[1])
    torch.testing.assert_close(q2 - q1, blocks[1](x1, None, carry)[1])


def carried(stage, x):
    """Carry after the last block, on the map: (B, *padded, channels), unshifted."""
    collected = []
    handle = stage.blocks[-1].register_forward_hook(lambda module, args, out: collected.append(out[1]))
    stage(x)
    handle.remove()
    _, shift = stage.blocks[-1].fitted(x.shape[1:-1])
    return shift_map(collected[0], [-s for s in shift])


def own_queries(stage, x):
    """Each block's own query on the map, unshifted, given what it gets in the whole stage."""
    inputs = []
    handles = [b.register_forward_pre_hook(lambda module, args: inputs.append(args[0])) for b in stage.blocks]
    stage(x)
    for handle in handles:
        handle.remove()
    maps = []
    for block, given in zip(stage.blocks, inputs, strict=True):
        _, own = block(given, None, partial(SumCarry(1, 3), layer=0))
        _, shift = block.fitted(x.shape[1:-1])
        maps.append(shift_map(own, [-s for s in shift]))
    return maps


@pytest.mark.parametrize("window", [(3, 5), (2, 3, 5), (4, 16)], ids=str)
@pytest.mark.parametrize("padded", [False, True])
def test_spatial_alignment_keeps_each_query_with_its_token(window, padded):
    """In masked windows and, with 64 tokens, in pieces."""
    torch.manual_seed(0)
    spatial = [2 * w - padded for w in window]
    x = torch.randn(2, *spatial, 12, dtype=torch.float64)
    aligned = SwinStage(12, 3, 3, window, carry="sum_spatial").double()
    torch.testing.assert_close(carried(aligned, x), sum(own_queries(aligned, x)))
    by_window = SwinStage(12, 3, 3, window).double()
    assert not torch.allclose(carried(by_window, x), sum(own_queries(by_window, x)))


@pytest.mark.parametrize("carry", ["sum", "sum_spatial"])
def test_the_carry_is_a_token_map_of_one_shape_whatever_attention_runs(carry):
    """As run on the CPU, in a compiled graph, and on another device; for windows that are masked and in pieces."""
    for window, spatial in (((3, 5), (7, 11)), ((4, 16), (7, 30))):
        torch.manual_seed(0)
        stage = SwinStage(12, 2, 3, window, carry=carry)
        padded = tuple(s + -s % w for s, w in zip(spatial, window, strict=True))
        x = torch.randn(2, *spatial, 12)
        compiled = torch.compile(stage, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(x), stage(x), atol=1e-5, rtol=1e-5)
        for device in ("cpu", "meta"):
            assert carried(stage.to(device), x.to(device)).shape == (2, *padded, 12)


def test_with_spatial_alignment_a_shift_of_the_input_by_whole_windows_shifts_the_carry_with_it():
    """Away from the borders, which the mask of shifted windows treats differently."""
    torch.manual_seed(0)
    stage = SwinStage(12, 2, 3, (3, 5), carry="sum_spatial").double()
    x = torch.randn(1, 12, 20, 12, dtype=torch.float64)
    moved = torch.roll(x, (3, 5), dims=(1, 2))
    before, after = carried(stage, x), carried(stage, moved)
    torch.testing.assert_close(after[:, 6:9, 10:15], before[:, 3:6, 5:10])


def test_alignment_leaves_unshifted_stages_alone():
    x = torch.randn(1, 3, 5, 12, dtype=torch.float64)
    stages = [SwinStage(12, 3, 3, (3, 5), carry=c).double() for c in ("sum", "sum_spatial")]
    stages[1].load_state_dict(stages[0].state_dict())
    assert torch.equal(stages[0](x), stages[1](x))


@pytest.mark.parametrize("carry", ["voxel", "none_spatial", "sum_", "", "Sum", True, None])
def test_unknown_carry_raises(carry):
    with pytest.raises(ValueError, match=f"a carry of none, sum, .*got {carry!r}"):
        SwinStage(12, 2, 3, (3, 5), carry=carry)
    with pytest.raises(ValueError, match=f"a carry of none, sum.*got {carry!r}"):
        VitEncoder(12, 2, 3, 24, carry=carry)


def test_spatial_alignment_without_windows_raises():
    with pytest.raises(ValueError, match="without _spatial, .*got 'sum_spatial'.* use 'sum'"):
        VitEncoder(12, 2, 3, 24, carry="sum_spatial")


@pytest.mark.parametrize("kind", [WindowAttention, WindowCrossAttention])
def test_projections_without_biases_are_those_with_zero_biases(kind):
    """A map of 7 x 11 is padded; keys and values of its padding have no bias either."""
    torch.manual_seed(0)
    without, zero = kind(12, 3, (3, 5), qkv_bias=False, scale=0.7), kind(12, 3, (3, 5), scale=0.7)
    zero.load_state_dict(without.state_dict(), strict=False)
    projection = zero.qkv if kind is WindowAttention else zero.kv
    torch.nn.init.zeros_(projection.bias)
    x, y = torch.randn(2, 2, 7, 11, 12).unbind(0)
    outputs = [a(x, y) if kind is WindowCrossAttention else a(x)[0] for a in (without, zero)]
    torch.testing.assert_close(*outputs)
    default = kind(12, 3, (3, 5))
    default.load_state_dict(zero.state_dict())
    assert not torch.allclose(default(x, y) if kind is WindowCrossAttention else default(x)[0], outputs[0])


def test_heads_that_do_not_divide_the_channels_raise():
    with pytest.raises(ValueError, match="divides the 12 channels, got 5"):
        WindowAttention(12, 5, (3, 3))
    with pytest.raises(ValueError, match="divides the 12 channels, got 5"):
        VitEncoder(12, 1, 5, 24)


def test_window_of_zero_raises():
    with pytest.raises(ValueError, match=r"at least 1, got \(3, 0\)"):
        WindowAttention(12, 3, (3, 0))

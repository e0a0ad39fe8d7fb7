import math

import pytest
import torch

from nnunet_reca.blocks import SwinStage, VitEncoder, WindowAttention
from nnunet_reca.blocks.stage import _realign
from nnunet_reca.ops import cpu_attention, shift_map

TWINS = {
    "windows_2d": (lambda recurrent, depth: SwinStage(12, depth, 3, (3, 5), recurrent=recurrent), (2, 7, 11, 12)),
    "windows_3d": (lambda recurrent, depth: SwinStage(12, depth, 3, (3, 2, 5), recurrent=recurrent), (2, 4, 5, 7, 12)),
    "sequential": (lambda recurrent, depth: VitEncoder(12, depth, 3, 24, recurrent=recurrent), (2, 13, 12)),
}
EACH = pytest.mark.parametrize(("build", "shape"), TWINS.values(), ids=TWINS)


def twins(build, depth):
    torch.manual_seed(0)
    reca, sa = build(True, depth).double().eval(), build(False, depth).double().eval()
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
    blocks = reca.blocks
    x1, q1 = blocks[0](x)
    x2, q2 = blocks[1](x1, q1)
    x3, q3 = blocks[2](x2, q2)
    torch.testing.assert_close(reca(x), x3)
    own = blocks[2](x2)[1]
    torch.testing.assert_close(q3 - q2, own)
    torch.testing.assert_close(q2 - q1, blocks[1](x1)[1])


@pytest.fixture
def in_pieces(monkeypatch):
    """Attention in pieces, whose carry is a map, for the small windows of these tests, too."""
    monkeypatch.setattr(cpu_attention, "SMALL_WINDOW", 1)


def carried(stage, x):
    """Carry after the last block of attention in pieces, on the map: (B, *padded, channels), unshifted."""
    collected = []
    handle = stage.blocks[-1].register_forward_hook(lambda module, args, out: collected.append(out[1]))
    stage(x)
    handle.remove()
    _, shift = stage.blocks[-1].fitted(x.shape[1:-1])
    return shift_map(collected[0], [-s for s in shift])


def own_queries(stage, x):
    """Each block's own query on the map, by running the self-attention blocks on the inputs of the recurrent ones."""
    maps = []
    q_hat = None
    for i, block in enumerate(stage.blocks):
        single = SwinStage(12, 1, 3, block.window_size, shift_size=block.shift_size).double()
        single.blocks[0] = block
        maps.append(carried(single, x))
        if i and stage.carry_alignment == "spatial":
            q_hat = _realign(q_hat, stage.blocks[i - 1], block, x)
        x, q_hat = block(x, q_hat)
    return maps


@pytest.mark.parametrize(("window", "spatial"), [((3, 5), (6, 10)), ((3, 5), (7, 11)), ((2, 3, 5), (4, 3, 10))])
def test_spatial_alignment_keeps_each_query_with_its_token(window, spatial, in_pieces):
    torch.manual_seed(0)
    x = torch.randn(2, *spatial, 12, dtype=torch.float64)
    aligned = SwinStage(12, 3, 3, window, carry_alignment="spatial").double()
    torch.testing.assert_close(carried(aligned, x), sum(own_queries(aligned, x)))
    by_window = SwinStage(12, 3, 3, window).double()
    assert not torch.allclose(carried(by_window, x), sum(own_queries(by_window, x)))


@pytest.mark.parametrize(("window", "spatial"), [((3, 5), (7, 11)), ((2, 3, 5), (4, 3, 10))])
@pytest.mark.parametrize("alignment", ["window", "spatial"])
def test_attention_in_pieces_and_in_windows_carry_alike(window, spatial, alignment, monkeypatch):
    torch.manual_seed(0)
    stage = SwinStage(12, 3, 3, window, carry_alignment=alignment).double()
    x = torch.randn(2, *spatial, 12, dtype=torch.float64)
    found = []
    for smallest in (1, math.inf):
        monkeypatch.setattr(cpu_attention, "SMALL_WINDOW", smallest)
        found.append(stage(x))
    torch.testing.assert_close(*found)


def test_with_spatial_alignment_a_shift_of_the_input_by_whole_windows_shifts_the_carry_with_it(in_pieces):
    """Away from the borders, which the mask of shifted windows treats differently."""
    torch.manual_seed(0)
    stage = SwinStage(12, 2, 3, (3, 5), carry_alignment="spatial").double()
    x = torch.randn(1, 12, 20, 12, dtype=torch.float64)
    moved = torch.roll(x, (3, 5), dims=(1, 2))
    before, after = carried(stage, x), carried(stage, moved)
    torch.testing.assert_close(after[:, 6:9, 10:15], before[:, 3:6, 5:10])


def test_alignment_leaves_unshifted_stages_alone():
    x = torch.randn(1, 3, 5, 12, dtype=torch.float64)
    stages = [SwinStage(12, 3, 3, (3, 5), carry_alignment=a).double() for a in ("window", "spatial")]
    stages[1].load_state_dict(stages[0].state_dict())
    assert torch.equal(stages[0](x), stages[1](x))


def test_unknown_alignment_raises():
    with pytest.raises(ValueError, match="'window' or 'spatial', got 'voxel'"):
        SwinStage(12, 2, 3, (3, 5), carry_alignment="voxel")


def test_heads_that_do_not_divide_the_channels_raise():
    with pytest.raises(ValueError, match="divides the 12 channels, got 5"):
        WindowAttention(12, 5, (3, 3))
    with pytest.raises(ValueError, match="divides the 12 channels, got 5"):
        VitEncoder(12, 1, 5, 24)


def test_window_of_zero_raises():
    with pytest.raises(ValueError, match=r"at least 1, got \(3, 0\)"):
        WindowAttention(12, 3, (3, 0))

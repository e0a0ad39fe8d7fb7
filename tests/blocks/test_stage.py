import pytest
import torch

from nnunet_reca.blocks import SwinStage, VitEncoder, WindowAttention

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


def test_heads_that_do_not_divide_the_channels_raise():
    with pytest.raises(ValueError, match="divides the 12 channels, got 5"):
        WindowAttention(12, 5, (3, 3))
    with pytest.raises(ValueError, match="divides the 12 channels, got 5"):
        VitEncoder(12, 1, 5, 24)


def test_window_of_zero_raises():
    with pytest.raises(ValueError, match=r"at least 1, got \(3, 0\)"):
        WindowAttention(12, 3, (3, 0))

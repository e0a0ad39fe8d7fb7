"""The recorded attention is the one that the layers compute, and recording leaves no trace."""

import itertools

import pytest
import torch
from support.network_cases import CASES, build

from nnunet_reca.blocks import SwinStage
from nnunet_reca.blocks.attention import no_carry
from nnunet_reca.blocks.carry import CARRIES
from nnunet_reca.explain.attention import Attention, View, attention_of, hooked, look, recorded
from nnunet_reca.explain.chains import CUTS, Chain, carry_chains, cut, cut_attention, cut_blocks
from nnunet_reca.explain.pictures import make_column


def made(case, **more):
    """A network whose weights, biases too, are random, and an input."""
    network, arguments, shape = CASES[case]
    module = build(network, arguments, **more).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return module, torch.randn(1, 2, *shape)


def attention_layers(network):
    return [block for chain in carry_chains(network) for block in chain.module.blocks]


@pytest.mark.parametrize("case", CASES)
def test_attended_values_on_the_map_are_the_layers_output(case):
    """Weights times values, and the weight on padding times its value, are what the layer passes to its projection."""
    network, image = made(case)
    blocks = attention_layers(network)
    with torch.no_grad(), recorded(blocks) as inputs, recorded([behind(b.attn) for b in blocks]) as attended:
        network(image)
    for block in blocks:
        grid = inputs[block][0].shape[1:-1]
        tokens = {(0,) * len(grid), tuple(g // 2 for g in grid), tuple(g - 1 for g in grid)}
        check_tokens(block, inputs[block], attended[behind(block.attn)][0], tokens)


def behind(attention):
    """What takes the attended values of all heads: a norm in Primus, the projection in the others."""
    return getattr(attention, "norm", attention.proj)


def check_tokens(block, given, attended, tokens):
    """What these tokens attend to, times its values, is what enters the block's projection."""
    x, grid = given[0], given[0].shape[1:-1]
    with torch.no_grad():
        project = getattr(block.attn, "v_proj", None) or block.attn.qkv
        values, padding = (t[..., -x.shape[-1] :] for t in (project(block.norm1(x))[0], project.bias))
        got = attended[0]
        for token in tokens:
            seen = attention_of(block, given, token, grid)
            by_head = values.unflatten(-1, (len(seen.weights), -1))
            expected = torch.einsum("h...,...hc->hc", seen.weights, by_head)
            left = 1 - seen.weights.flatten(1).sum(1, keepdim=True)
            expected = expected + left * padding.unflatten(-1, (len(seen.weights), -1))
            torch.testing.assert_close(got[token], expected.flatten(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("carry", [*CARRIES, "sum_spatial"])
@pytest.mark.parametrize(("window", "size"), [((3, 5), (7, 11)), ((2, 3, 2), (5, 7, 4)), ((4, 16), (7, 20))])
def test_attention_of_tokens_everywhere_in_padded_and_shifted_windows_is_the_layers(window, size, carry):
    """The last window is large enough to be attended to in pieces; where a token is does not depend on the carry."""
    tokens = [*itertools.product(*map(range, size))][:: 3 if carry.startswith("sum") else 13]
    torch.manual_seed(1)
    stage = SwinStage(12, 4, 4, window, carry=carry)
    blocks = list(stage.blocks)
    for block in blocks:
        torch.nn.init.normal_(block.attn.qkv.bias)
    with torch.no_grad(), recorded(blocks) as inputs, recorded([b.attn.proj for b in blocks]) as attended:
        stage(torch.randn(1, *size, 12))
    for block in blocks:
        check_tokens(block, inputs[block], attended[block.attn.proj][0], tokens)


@pytest.mark.parametrize(
    ("token", "layer", "keys", "visible"), [((4, 6), 0, 12, 6), ((4, 6), 1, 4, 1), ((0, 0), 1, 2, 2)]
)
def test_uniform_attention_is_one_in_the_figures_padded_keys_included(token, layer, keys, visible):
    """A 5×7 map in windows of 3×4 is padded to 6×8; the shift by (1, 2) leaves corners that see themselves alone."""
    stage = SwinStage(6, 2, 3, (3, 4))
    block = stage.blocks[layer]
    for parameter in (*block.attn.qkv.parameters(), block.attn.relative_position_bias_table):
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        seen = attention_of(block, (torch.randn(1, 5, 7, 6), None, no_carry), token, (5, 7))
    assert seen.keys == keys and seen.visible.sum() == visible
    view = View(Chain("stage 1", stage), layer, token, block.fitted((5, 7)), seen, None)
    column = make_column(view, None, seen.mean.numpy(), seen.visible.numpy(), seen.visible.numpy())
    assert column.alone[column.visible] == pytest.approx(1)


@pytest.mark.parametrize("case", CASES)
def test_looking_changes_no_output_and_leaves_no_hook(case):
    network, image = made(case)
    voxel = tuple(s // 2 for s in image.shape[2:])
    with torch.no_grad():
        before = network(image)
        views = look(network, carry_chains(network), image, voxel)
        assert torch.equal(network(image), before)
    assert not any(m._forward_pre_hooks for m in network.modules())
    assert all(chain.carries for chain in carry_chains(network))
    assert {view.chain.name for view in views} == {chain.name for chain in carry_chains(network)}


@pytest.mark.parametrize("case", ["swin_unetr_3d", "nnformer_3d", "swin_unet_2d", "da_transunet"])
def test_attention_without_the_carry_is_that_of_the_twin_where_nothing_before_differs(case):
    network, image = made(case)
    twin, _ = made(case, carry="none")
    twin.load_state_dict(network.state_dict())
    voxel = tuple(s // 3 for s in image.shape[2:])
    first, second = (look(n, carry_chains(n)[:1], image, voxel)[-1] for n in (network, twin))
    torch.testing.assert_close(first.alone.weights, second.alone.weights)
    assert second.carried is None and second.moved is None
    assert 0 < first.moved < 1, "the carry moves some attention"


@pytest.mark.parametrize("case", CASES)
def test_the_token_that_looks_holds_the_voxel(case):
    network, image = made(case)
    voxel = tuple(s - 1 for s in image.shape[2:])
    for view in look(network, carry_chains(network), image, voxel):
        grid = view.alone.visible.shape
        assert view.token == tuple(g - 1 for g in grid)
        assert view.alone.visible[view.token], "a token sees itself"
        assert not view.alone.weights[:, ~view.alone.visible].any()


def test_uniform_attention_spreads_over_all_tokens_it_sees():
    weights = torch.zeros(2, 3, 5)
    weights[:, 1:, :4] = 1 / 8
    seen = Attention(weights, weights[0] > 0, 8)
    assert seen.effective_tokens == pytest.approx(8) and seen.on_padding == pytest.approx(0, abs=1e-6)
    weights[:, 1:, :4] = 1 / 16
    assert Attention(weights, weights[0] > 0, 16).on_padding == pytest.approx(0.5)


def test_shown_layers_end_with_the_last():
    network, _ = made("da_transunet")
    (chain,) = carry_chains(network)
    assert chain.shown_layers == [0, 1, 2] and chain.name == "transformer"
    deep = Chain("transformer", type(chain.module)(12, 12, 3, 24))
    assert deep.shown_layers == [2, 5, 8, 11]
    stages = carry_chains(made("swin_unet_2d")[0])
    assert [c.shown_layers for c in stages] == [[1], [0], [2], [1]]
    assert [c.name for c in stages] == ["stage 1", "stage 2", "stage 3", "stage 4"]


@pytest.mark.parametrize("case", CASES)
def test_all_chains_cut_is_the_self_attention_twin(case):
    network, image = made(case)
    twin, _ = made(case, carry="none")
    twin.load_state_dict(network.state_dict())
    chains = carry_chains(network)
    with torch.no_grad():
        before = network(image)
        with cut(chains):
            torch.testing.assert_close(network(image), twin(image), atol=0, rtol=0)
        assert torch.equal(network(image), before)


@pytest.mark.parametrize("carry", CARRIES)
def test_a_cut_network_computes_as_the_twin_and_loads_its_own_weights(carry):
    """nnU-Net's predictor loads them before each prediction."""
    network, image = made("swin_unet_2d", carry=carry)
    twin, _ = made("swin_unet_2d", carry="none")
    weights = network.state_dict()
    twin.load_state_dict({name: tensor for name, tensor in weights.items() if name in twin.state_dict()})
    with torch.no_grad(), cut(carry_chains(network)):
        network.load_state_dict(weights)
        torch.testing.assert_close(network(image), twin(image), atol=0, rtol=0)
    assert network.state_dict().keys() == weights.keys()


@pytest.mark.parametrize("case", ["swin_unetr_3d", "nnformer_3d", "swin_unet_2d", "da_transunet"])
def test_one_cut_changes_the_output_and_leaves_the_other_chains(case):
    network, image = made(case)
    chains = carry_chains(network)
    outputs = []
    with torch.no_grad():
        before = network(image)
        for chain in chains:
            with cut([chain]):
                assert [c.carries for c in chains] == [c is not chain for c in chains]
                outputs.append(network(image))
    for chain, output in zip(chains, outputs, strict=True):
        assert torch.equal(output, before) == (chain.depth == 1), "a chain of one layer has no carry to cut"


def test_a_cut_is_undone_after_an_error():
    chains = carry_chains(made("swin_unetr_3d")[0])
    with pytest.raises(RuntimeError, match="stop"), cut(chains):
        raise RuntimeError("stop")
    assert all(chain.carries for chain in chains)


def test_networks_without_a_chain_are_refused():
    with pytest.raises(ValueError, match="expected a network of nnunet_reca, got Linear"):
        carry_chains(torch.nn.Linear(2, 2))


@pytest.mark.parametrize("case", CASES)
def test_attention_cut_is_the_network_whose_attention_is_projected_to_zero(case):
    network, image = made(case)
    silent, _ = made(case)
    with torch.no_grad():
        before = network(image)
        for parameter in (p for block in attention_layers(silent) for p in block.attn.proj.parameters()):
            parameter.zero_()
        with cut_attention(carry_chains(network)):
            torch.testing.assert_close(network(image), silent(image), atol=0, rtol=0)
        assert torch.equal(network(image), before) and not torch.equal(silent(image), before)


@pytest.mark.parametrize("case", CASES)
def test_blocks_cut_is_the_network_whose_chains_return_their_input(case):
    """The final norm of a transformer stays."""
    network, image = made(case)
    chains = carry_chains(network)
    with torch.no_grad():
        before = network(image)
        with cut_blocks(chains):
            got = network(image)
        returned = [getattr(chain.module, "norm", torch.nn.Identity()) for chain in chains]
        with hooked(
            *(
                chain.module.register_forward_hook(lambda _, given, out, norm=norm: norm(given[0].clone()))
                for chain, norm in zip(chains, returned, strict=True)
            )
        ):
            torch.testing.assert_close(got, network(image), atol=0, rtol=0)
        assert torch.equal(network(image), before) and not torch.equal(got, before)


@pytest.mark.parametrize("part", CUTS)
def test_one_chain_is_cut_and_undone_after_an_error_and_weights_load_meanwhile(part):
    network, image = made("swin_unetr_3d")
    first, second = (chain.module for chain in carry_chains(network))
    given = torch.randn(1, 6, 8, 4, 12), torch.randn(1, 3, 4, 2, 24)
    weights = network.state_dict()
    with torch.no_grad():
        before = network(image), first(given[0]), second(given[1])
        with pytest.raises(RuntimeError, match="stop"), CUTS[part](carry_chains(network)[:1]):
            assert network.load_state_dict(weights) and network.state_dict().keys() == weights.keys()
            assert not torch.equal(first(given[0]), before[1]) and torch.equal(second(given[1]), before[2])
            raise RuntimeError("stop")
        assert all(map(torch.equal, (network(image), first(given[0]), second(given[1])), before))
    assert not any("forward" in vars(module) for module in network.modules())

"""Primus equals dynamic_network_architectures' classes, and RecA in it an explicit loop over its layers."""

import pytest
import torch
from dynamic_network_architectures.architectures import primus as published
from support.plan_factory import make_configuration, make_plans
from torch.nn import functional as F

from nnunet_reca.architectures import Primus
from nnunet_reca.ops import rotary_embedding
from nnunet_reca.plans import rewrite_plan
from nnunet_reca.plans.networks import NETWORKS
from nnunet_reca.plans.primus import STEM_CHANNELS, WIDTHS
from nnunet_reca.weights import load_renamed, rename
from nnunet_reca.weights.primus import primus_rules

SIDES = (16, 32, 24)
STRIDES = [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2]]
GRID = [s // 8 for s in SIDES]
CLASSES = {1: published.Primus, 2: published.PrimusV2, 3: published.PrimusV3}
SMALL = {"embed_dim": 36, "depth": 3, "num_heads": 3}


def reference(version, *, channels=2, classes=5, embed_dim, depth, num_heads, sides=SIDES):
    """As nnU-Net's trainers build it."""
    options = {"eva_depth": depth, "eva_numheads": num_heads, "drop_path_rate": 0.2, "init_values": 0.1}
    sizes = {"embed_dim": embed_dim, "patch_embed_size": (8, 8, 8), "num_classes": classes, "input_shape": sides}
    return CLASSES[version](channels, **sizes, **options, scale_attn_inner=True)


def ours(version, *, channels=2, classes=5, grid=GRID, **more):
    arguments = {"strides": STRIDES, "grid_size": grid, "version": version, "stem_channels": STEM_CHANNELS[version]}
    return Primus(channels, classes, **arguments, **more)


def pair(version, **size):
    """The published network, with weights in which nothing is at its start, and ours with the same."""
    torch.manual_seed(0)
    theirs = reference(version, **size).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    twin = ours(version, carry="none", **size).eval()
    load_renamed(twin, rename(theirs.state_dict(), primus_rules()))
    return theirs, twin


@pytest.mark.parametrize("size", [SMALL, WIDTHS["S"]], ids=["small", "S"])
@pytest.mark.parametrize("version", CLASSES)
def test_the_twin_is_the_published_network(version, size):
    theirs, twin = pair(version, **size)
    x = torch.randn(2, 2, *SIDES)
    with torch.no_grad():
        expected = theirs(x)
        torch.testing.assert_close(twin(x), expected, atol=1e-5 * expected.abs().max().item(), rtol=1e-5)


@pytest.mark.parametrize("version", CLASSES)
def test_float64_gradients_are_those_of_the_published_network(version):
    theirs, twin = (n.double() for n in pair(version, **SMALL))
    x = torch.randn(2, 2, *SIDES, dtype=torch.float64)
    weight = torch.randn(2, 5, *SIDES, dtype=torch.float64)
    for network in (theirs, twin):
        (network(x) * weight).sum().backward()
    expected = rename({n: p.grad for n, p in theirs.named_parameters()}, primus_rules())
    gradients = {n: p.grad for n, p in twin.named_parameters()}
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-9, rtol=1e-7)  # biases before norms have none


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("version", CLASSES)
def test_parameters_of_every_size_are_the_published_ones(version, width):
    with torch.device("meta"):
        theirs = reference(version, channels=1, classes=3, sides=(32, 32, 32), **WIDTHS[width])
        twin = ours(version, channels=1, classes=3, grid=[4, 4, 4], **WIDTHS[width])
    names = rename(theirs.state_dict(), primus_rules())
    assert shapes_of(twin) == {n: t.shape for n, t in names.items()}


def shapes_of(network):
    """Names and shapes, without those of layers that stand in the state dict twice."""
    return {n: t.shape for n, t in network.state_dict().items() if ".all_modules." not in n}


def test_nnunets_plan_of_published_geometry_builds_the_published_network():
    configuration = make_configuration([96, 128, 96], STRIDES + [[2, 2, 2], [1, 2, 1]])
    for name, network in NETWORKS.items():
        if name.startswith("Primus"):
            plans = rewrite_plan(make_plans(x=configuration), "x", network=name, size="base", carry="none")
            arguments = plans["configurations"]["x"]["architecture"]["arch_kwargs"]
            version, width = arguments["version"], name[-1]
            with torch.device("meta"):
                built = network.load_class()(1, 3, **arguments)
                theirs = reference(version, channels=1, classes=3, sides=(96, 128, 96), **WIDTHS[width])
            names = rename(theirs.state_dict(), primus_rules())
            assert shapes_of(built) == {n: t.shape for n, t in names.items()}


def turned(x, grid, head_dim):
    """Rotary embedding by complex numbers: pair p of axis a turns by position * 10000^(-p / pairs)."""
    pairs = head_dim // (2 * len(grid))
    rates = 10000.0 ** -(torch.arange(pairs, dtype=torch.float64) / pairs)
    places = torch.stack(torch.meshgrid(*(torch.arange(float(g)) for g in grid), indexing="ij"), -1).flatten(0, -2)
    angles = (places.double()[:, :, None] * rates).flatten(1)
    n = 2 * angles.shape[1]
    numbers = torch.view_as_complex(x[..., :n].unflatten(-1, (-1, 2)).contiguous())
    spun = torch.view_as_real(numbers * torch.polar(torch.ones_like(angles), angles)).flatten(-2)
    return torch.cat([spun, x[..., n:]], dim=-1)


@pytest.mark.parametrize(
    ("sides", "strides"), [(SIDES, STRIDES), ((12, 20), [[1, 1], [2, 2], [1, 2]])], ids=["3d", "2d"]
)
def test_recurrent_attention_in_primus_is_the_explicit_loop(sides, strides):
    """Query sums before the rotary embedding, 22 channels per head, of which the axes do not fill all."""
    torch.manual_seed(0)
    grid = [s // t for s, t in zip(sides, torch.tensor(strides).prod(0).tolist(), strict=True)]
    network = Primus(
        1, 2, strides=strides, grid_size=grid, stem_channels=[4] * len(strides), embed_dim=66, depth=4, num_heads=3
    )
    network = network.double().eval()
    network.encoder.rotary = rotary_embedding(grid, 22).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    image = torch.randn(2, 1, *sides, dtype=torch.float64)
    x = network.encoder.patch_embed(image).flatten(2).transpose(1, 2) + network.encoder.position_embedding
    total = 0
    for block in network.encoder.transformer.blocks:
        y, attn = block.norm1(x), block.attn
        q, k, v = (p(y).unflatten(-1, (3, 22)).transpose(1, 2) for p in (attn.q_proj, attn.k_proj, attn.v_proj))
        total = total + turned(q, grid, 22)  # after the embedding: the same, since it is linear
        weights = torch.softmax(total @ turned(k, grid, 22).mT * 22**-0.5, dim=-1)
        attended = attn.proj(attn.norm((weights @ v).transpose(1, 2).flatten(2)))
        x = x + block.gamma_1 * attended
        y, mlp = block.norm2(x), block.mlp
        x = x + block.gamma_2 * mlp.fc2(mlp.norm(F.silu(mlp.fc1_g(y)) * mlp.fc1_x(y)))
    tokens = network.encoder.transformer.norm(x).transpose(1, 2).unflatten(2, grid)
    torch.testing.assert_close(network.encoder(image), tokens, atol=1e-6, rtol=1e-6)


def test_output_projections_start_smaller_layer_by_layer():
    torch.manual_seed(0)
    network = ours(1, embed_dim=144, depth=4, num_heads=3)
    network.apply(network.initialize)
    for layer, block in enumerate(network.encoder.transformer.blocks, 1):
        for weight in (block.attn.proj.weight, block.mlp.fc2.weight):
            assert weight.std().item() == pytest.approx(0.02 / (2 * layer) ** 0.5, rel=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strides": [[1, 1, 1]]}, "1 to 3 poolings after the leading 1, got 0"),
        ({"strides": STRIDES + [[2, 2, 2]]}, "1 to 3 poolings after the leading 1, got 4"),
        ({"version": 4}, r"a version of \[1, 2, 3\], got 4"),
        ({"grid_size": [1, 1, 1]}, "at least two tokens, got .* a larger patch"),
        ({"grid_size": [2, 4]}, "a grid_size of 3 sides"),
        ({"stem_channels": [8, 16]}, r"expected 4 stem_channels for 3 poolings, got \[8, 16\]"),
        ({"depth": 0}, "a depth of at least 1, got 0"),
        ({"embed_dim": 100}, "divides the 100 channels, got 6"),
        ({"embed_dim": 24}, "heads of at least 6 channels for 3 axes, got 4; use fewer heads"),
        ({"carry": "sum_spatial"}, "without _spatial"),
    ],
)
def test_wrong_arguments_of_primus_name_expected_got_and_fix(change, message):
    arguments = {"strides": STRIDES, "grid_size": GRID, "embed_dim": 72, "depth": 1} | change
    with pytest.raises(ValueError, match=message):
        Primus(1, 2, **arguments)


def test_a_plan_that_leaves_one_token_says_so():
    with pytest.raises(ValueError, match=r"more than one voxel at the bottleneck, got \[1, 1, 1\]"):
        plans = make_plans(x=make_configuration([8, 8, 8], STRIDES))
        rewrite_plan(plans, "x", network="PrimusV3S", size="tiny", carry="sum")

"""Checkpoints as training codes save them: the known sub-tree of names is found, whatever stands around it."""

import copy
import functools

import pytest
import torch
from support.published_states import (
    LAYOUTS,
    microsoft_names,
    monai_network,
    openmmlab_names,
    our_network,
    published,
    small_da_transunet,
    small_swin_unet,
    timm_swin,
)
from timm.models.vision_transformer import VisionTransformer

from nnunet_reca.weights import rename
from nnunet_reca.weights.checkpoint import named_tensors, read_content
from nnunet_reca.weights.convert import convert
from nnunet_reca.weights.layout import find_part
from nnunet_reca.weights.layouts import known_layouts


def named(prefix, state):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def beneath(word, state):
    """The word below the first module of each name; parameters of the network itself have none."""
    return {n.replace(".", f".{word}.", 1) if "/" not in n else f"{word}.{n}": t for n, t in state.items()}


def noise(state):
    return {name: torch.randn_like(tensor.float()) for name, tensor in state.items()}


def pieces(state):
    """A state dict for each child of the network."""
    tree = {}
    for name, tensor in state.items():
        child, _, rest = name.partition(".")
        if rest:
            tree.setdefault(child, {})[rest] = tensor
        else:
            tree[child] = tensor
    return tree


def an_optimizer(state):
    moments = {i: {"step": torch.tensor(9.0), "exp_avg": torch.zeros(2)} for i in range(len(state))}
    return {"state": moments, "param_groups": [{"lr": 0.1, "params": [*moments]}]}


METRICS = {"loss.weight": torch.ones(3), "criterion.dice.module.weight": torch.ones(2), "dice.total": torch.tensor(7)}
HEADS_OF_THEIRS = {"organ_embedding": torch.ones(2, 3), "classifier.0.weight": torch.ones(4, 4)}
SEGMENTOR = {"decode_head.conv_seg.weight": torch.ones(2, 2, 1, 1), "auxiliary_head.convs.0.bn.bias": torch.ones(2)}

WRAPPERS = {
    "bare": lambda s: s,
    "Lightning, net": lambda s: {"state_dict": named("net.", s) | METRICS, "optimizer_states": [an_optimizer(s)]},
    "Lightning, _model, compiled": lambda s: {"state_dict": METRICS | named("_model._orig_mod.", s), "epoch": 3},
    "Lightning, another attribute": lambda s: {"state_dict": named("segmenter.inner.", s), "callbacks": {"a": {}}},
    "DataParallel": lambda s: named("module.", s),
    "DataParallel and compile inside": lambda s: {"model": named("model.module.", beneath("_orig_mod", s))},
    "universal model": lambda s: {"net": named("module.backbone.", s) | named("module.", HEADS_OF_THEIRS)},
    "averaged model": lambda s: {"n_averaged": torch.tensor(5)} | named("module.", s),
    "segmentor": lambda s: {"meta": {"epoch": 1}, "state_dict": named("backbone.", s) | SEGMENTOR},
    "student and teacher": lambda s: {"student": named("backbone.", noise(s)), "teacher": named("module.backbone.", s)},
    "model and EMA": lambda s: {"model": noise(s), "model_ema": s, "optimizer": an_optimizer(s)},
    "model and EMA by name": lambda s: {"state_dict": named("net.", noise(s)) | named("net_ema.module.", s)},
    "state_dict_ema": lambda s: {"state_dict": noise(s), "state_dict_ema": named("module.", s)},
    "optimizer beside the names": lambda s: s | {"optimizer": an_optimizer(s), "epoch": 3},
    "EMA in a container beside the names": lambda s: noise(s) | {"ema": s, "step": 3},
    "EMA as a module beside the names": lambda s: noise(s) | named("ema.module.", s),
    "child by child": lambda s: {"checkpoint": pieces(s), "optimizer": an_optimizer(s)},
    "two containers": lambda s: {"checkpoint": {"state_dict": s, "optimizer": an_optimizer(s)}, "args": {"lr": 0.1}},
    "float16": lambda s: {"module": {n: t.half() if t.is_floating_point() else t for n, t in s.items()}},
    "bfloat16": lambda s: {"state_dict": {n: t.bfloat16() if t.is_floating_point() else t for n, t in s.items()}},
    **{
        container: lambda s, container=container: {container: s, "optimizer": an_optimizer(s), "loss": torch.ones(())}
        for container in (
            "state_dict",
            "model",
            "net",
            "network_weights",
            "model_state",
            "model_state_dict",
            "student",
            "teacher",
            "state_dict_ema",
            "model_ema",
            "ema",
        )
    },
}


@functools.cache
def initial(build):
    torch.manual_seed(11)
    return build()


def fill(content, build, **options):
    """The network, filled from its own fixed initialisation, and the report."""
    network = copy.deepcopy(initial(build))
    return network, convert(content, network, known_layouts(), **options)[1]


@functools.cache
def bare(layout):
    return fill(*published(layout))


def assert_equal(network, expected, tolerance=0.0):
    state = network.state_dict()
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(state[name], tensor, rtol=tolerance, atol=tolerance, msg=name)


def renamed(content, build):
    """Layout and tensors of the part under our names."""
    part = find_part(named_tensors(content), initial(build), known_layouts())
    return part.layout.name, rename(part.tensors, part.layout.rules(part.tensors, initial(build)))


TOLERANCE = {"float16": 1e-3, "bfloat16": 1e-2}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_wrapper_holds_the_same_part_as_the_bare_state_dict(layout, wrapper):
    state, build = published(layout)
    name, tensors = renamed(WRAPPERS[wrapper](state), build)
    bare_name, bare_tensors = renamed(state, build)
    assert name == bare_name and tensors.keys() == bare_tensors.keys()
    tolerance = TOLERANCE.get(wrapper, 0.0)
    for key, tensor in tensors.items():
        torch.testing.assert_close(tensor, bare_tensors[key], rtol=tolerance, atol=tolerance, msg=key)


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("layout", ["SwinUNETR", "Swin of timm"])
def test_every_wrapper_gives_what_the_bare_state_dict_gives(layout, wrapper):
    state, build = published(layout)
    expected, plain = bare(layout)
    network, report = fill(WRAPPERS[wrapper](state), build)
    assert (report.layout, report.loaded, report.adapted) == (plain.layout, plain.loaded, plain.adapted)
    assert_equal(network, expected, TOLERANCE.get(wrapper, 0.0))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_unknown_name_inside_the_part_is_an_error_whatever_stands_around_it(layout):
    state, build = published(layout)
    first = next(iter(state))
    inside = state | {f"surprise{'/' if '/' in first else '.'}weight": torch.ones(1)}
    for wrapper in ("DataParallel", "Lightning, net", "universal model", "model and EMA"):
        with pytest.raises(ValueError, match="1 unknown: surprise"):
            fill(WRAPPERS[wrapper](inside), build)


def test_what_stands_around_the_part_is_reported():
    state, build = published("Swin of detectors")
    _, report = fill(WRAPPERS["segmentor"](state) | {"optimizer": an_optimizer({"a": 0, "b": 0})}, build)
    assert report.part == "state_dict.backbone"
    assert report.aside == {"state_dict.decode_head": 1, "state_dict.auxiliary_head": 1, "optimizer": 4}
    lines = str(report).splitlines()
    assert {"part: state_dict.backbone", "left aside, around this part: 6 tensors", "  optimizer: 4"} <= set(lines)


@pytest.mark.parametrize(
    ("content", "taken", "other", "word"),
    [
        (lambda a, b: {"student": a, "teacher": b}, "teacher", "student", "student"),
        (lambda a, b: {"model": a, "model_ema": b, "epoch": 3}, "model_ema", "model", "model"),
        (
            lambda a, b: {"state_dict": named("net.", a) | named("ema_net.", b)},
            "state_dict.ema_net",
            "state_dict.net",
            "net",
        ),
        (lambda a, b: a | {"ema": b}, "ema", ".", "."),
        (lambda a, b: {"first": named("net.", b), "second": named("net.", a)}, "first.net", "second.net", "second"),
    ],
)
def test_of_two_parts_the_report_says_which_was_taken_and_the_other_can_be_chosen(content, taken, other, word):
    state, build = published("Swin of timm")
    content = content(state, {n: t + 1 if t.is_floating_point() else t for n, t in state.items()})
    network, report = fill(content, build)
    assert (report.part, report.others) == (taken, [other])
    assert f"part: {taken}; {other} would fit, too: choose with --part NAME" in str(report)
    assert torch.equal(network.encoder.norm.weight, state["norm.weight"] + 1)
    network, report = fill(content, build, part=word)
    assert (report.part, torch.equal(network.encoder.norm.weight, state["norm.weight"])) == (other, True)


def test_a_part_that_is_not_there_is_an_error_that_names_those_that_are():
    state, build = published("Swin of timm")
    with pytest.raises(ValueError, match="weights of SwinUnet, student, teacher, got 'tutor'"):
        fill({"student": state, "teacher": state}, build, part="tutor")


def test_an_encoder_beside_a_decoder_of_the_whole_network_can_be_taken_alone():
    state, build = published("SwinUNETR")
    _, report = fill(state | {"my_head.weight": torch.ones(1)}, build, part="swinViT")
    assert report.layout == "SwinUNETR encoder (self-supervised)" and report.aside["my_head"] == 1
    assert all(name.startswith("decoder.") for name in report.fresh)


def test_a_detectors_last_output_norm_takes_the_place_of_the_final_norm_and_the_others_are_reported():
    for layout in ("Swin of OpenMMLab", "Swin of detectors"):
        network, report = bare(layout)
        assert network.encoder.norm.weight.unique().tolist() == [5] and network.encoder.norm.bias.unique().tolist() == [
            -5
        ]
        assert sorted(report.skipped) == [f"norm{i}.{kind}" for i in range(3) for kind in ("bias", "weight")]
        assert "does not have" in report.skipped["norm0.bias"]


def test_a_backbone_without_any_output_norm_leaves_the_final_norm_at_its_initialisation():
    state = {n: t for n, t in microsoft_names(timm_swin().state_dict()).items() if not n.startswith(("norm", "head"))}
    _, report = fill({"state_dict": named("backbone.", state) | SEGMENTOR}, small_swin_unet)
    assert {"encoder.norm.weight", "encoder.norm.bias"} <= {*report.fresh}


def test_openmmlab_names_and_sub_lattices_give_the_same_features():
    model = timm_swin()
    state = openmmlab_names(model.state_dict()) | {}
    network, _ = fill({"state_dict": named("backbone.", state)}, small_swin_unet)
    x = torch.randn(1, 3, 224, 224)
    torch.testing.assert_close(network.encoder(x)[-1], model.forward_features(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("state", "build", "message"),
    [
        (
            lambda: monai_network(use_v2=True).state_dict(),
            our_network,
            "use_v2=True .* supported: swinViT.layers1c",
        ),
        (
            lambda: named("net.", monai_network(use_v2=True).swinViT.state_dict()),
            our_network,
            "use_v2=True .* supported: layers1c",
        ),
        (lambda: monai_network(norm_name=("group", {"num_groups": 3})).state_dict(), our_network, "norm_name"),
        (
            lambda: VisionTransformer(img_size=64, embed_dim=48, depth=1, num_heads=3, init_values=0.1).state_dict(),
            small_da_transunet,
            "a ViT whose blocks scale .* not supported: blocks.0.ls1.gamma",
        ),
        (lambda: swin_v2_of_timm().state_dict(), small_swin_unet, "Swin Transformer V2, which is not supported"),
        (lambda: swin_v2_of_torchvision().state_dict(), small_swin_unet, "Swin Transformer V2, which is not supported"),
    ],
)
def test_variants_without_a_counterpart_are_named(state, build, message):
    with pytest.raises(ValueError, match=message):
        fill(state(), build)


def swin_v2_of_timm():
    from timm.models.swin_transformer_v2 import SwinTransformerV2

    return SwinTransformerV2(img_size=64, window_size=2, embed_dim=12, depths=(1, 1), num_heads=(1, 2))


def swin_v2_of_torchvision():
    from torchvision.models import swin_transformer as swin

    return swin.SwinTransformer([4, 4], 12, [1, 1], [1, 2], [2, 2], block=swin.SwinTransformerBlockV2)


def test_files_hold_arrays_lists_and_whole_networks_too(tmp_path):
    model = timm_swin()
    state = model.state_dict()
    expected, _ = fill(state, small_swin_unet)
    for content in ({"model": {n: t.numpy() for n, t in state.items()}}, {"nets": [state]}, model, {"ema": model}):
        torch.save(content, tmp_path / "checkpoint.pt")
        network, _ = fill(read_content(tmp_path / "checkpoint.pt", trust=True), small_swin_unet)
        assert_equal(network, expected)

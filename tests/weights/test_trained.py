"""Checkpoints of our own trainings as a source, for every network and plans of other depth, windows and strides."""

import itertools
import json
import zipfile

import numpy as np
import pytest
import torch
from nnunetv2.run.load_pretrained_weights import load_pretrained_weights
from support.plan_factory import DATASET_JSON, KINDS, make_configuration, make_plans
from support.published_states import monai_network

from nnunet_reca import trainers
from nnunet_reca.cli.convert_weights import main
from nnunet_reca.weights.adapt import fold_sublattices, resize_bias_table
from nnunet_reca.weights.checkpoint import read_content
from nnunet_reca.weights.convert import convert
from nnunet_reca.weights.layouts import known_layouts
from nnunet_reca.weights.trained import trained_layout, trained_network

SHALLOW, TURNED = (make_configuration(side, [[1, 1]] + [[2, 2]] * 3) for side in ([56, 40], [40, 56]))
MIDDLE = make_configuration([64, 48], [[1, 1]] + [[2, 2]] * 4)
DEEP = make_configuration([64, 96], [[1, 1]] + [[2, 2]] * 5)
ANISOTROPIC = make_configuration([64, 48], [[1, 1], [2, 2], [2, 2], [1, 2], [2, 1]])
SHALLOW_3D = make_configuration([40, 56, 40], [[1] * 3] + [[2] * 3] * 3)
ANISOTROPIC_3D = make_configuration([8, 48, 64], [[1] * 3] + [[1, 2, 2]] * 2 + [[2] * 3] * 2)
#: one and two poolings, which Primus takes, and its token of three
FEW = [
    make_configuration([16, 24, 16], [[1] * 3, [2] * 3]),
    make_configuration([32, 24, 16], [[1] * 3, [2] * 3, [1, 2, 2]]),
    SHALLOW_3D,
]
PAIRS = [*itertools.product((SHALLOW, TURNED, DEEP, ANISOTROPIC), repeat=2)]
PAIRS += itertools.product((SHALLOW_3D, ANISOTROPIC_3D), repeat=2)
PAIRS += itertools.permutations(FEW, 2)
#: two channels and two classes where the source has one and three
OTHER = DATASET_JSON | {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "tumour": 1}}


def trainer_of(network, twin="Reca"):
    return getattr(trainers, f"nnUNetTrainer{network}{twin}_tiny_2epochs")


def make_checkpoint(trainer, configuration):
    """A network with weights that differ from any initialisation, as nnU-Net saves it."""
    plans = make_plans(x=configuration)
    network = trainer.new_network(plans, "x", DATASET_JSON)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return {
        "network_weights": network.state_dict(),
        "init_args": {"plans": trainer.rewritten(plans, "x"), "configuration": "x", "device": torch.device("cpu")},
        "logging": {"train_losses": [np.float32(1.5)], "lrs": [0.1], "dice": [np.float64(0.5), np.int64(3)]},
        "optimizer_state": None,
    }, network


def convert_between(network, source, target, dataset=OTHER, twin="Reca"):
    checkpoint, before = make_checkpoint(trainer_of(network), source)
    after = trainer_of(network, twin).new_network(make_plans(x=target), "x", dataset)
    trained = trained_network(checkpoint)
    _, report = convert(checkpoint["network_weights"], after, [trained_layout(trained)], trained)
    return before, after, report


def takes(network, *configurations):
    """Whether a network takes plans of such dimensions and poolings."""
    kind = KINDS[network]
    return all(
        len(c["patch_size"]) in kind.dimensions and len(c["architecture"]["arch_kwargs"]["strides"]) > kind.poolings[0]
        for c in configurations
    )


@pytest.mark.parametrize(
    ("network", "pair"),
    [(n, p) for n in KINDS for p in PAIRS if takes(n, *p)],
    ids=lambda x: x if isinstance(x, str) else "-".join(str(c["patch_size"]).replace(" ", "") for c in x),
)
def test_all_weights_move_to_any_plan_other_channels_and_labels(network, pair):
    before, after, report = convert_between(network, *pair)
    parts = {*report.loaded, *report.adapted, *report.skipped, *report.fresh}
    assert {n for n, _ in after.named_parameters()} <= parts
    old, new = dict(before.named_parameters()), dict(after.named_parameters())
    for name in report.loaded:
        if name in new:
            assert torch.equal(old[name], new[name]), name
    heads = {n for n in new if n.startswith("decoder.seg_layers.")}
    assert heads <= {*report.fresh} and not any(
        torch.equal(old[n], new[n]) for n in heads if n in old and "bias" not in n
    )
    if pair[0] is pair[1]:
        stems = {"SwinUNETR": 3, "PrimusV2S": 2, "PrimusV3S": 2}.get(network, 1)  # the convolutions that see the image
        assert set(report.fresh) == heads and len(report.adapted) == stems
        assert all("convolution" in note for note in report.adapted.values())
    assert torch.isfinite(after.eval()(torch.randn(1, 2, *pair[1]["patch_size"]))).all()


@pytest.mark.parametrize("network", KINDS)
def test_on_the_same_plan_twins_share_all_but_the_heads(network):
    before, after, report = convert_between(network, SHALLOW, SHALLOW, DATASET_JSON, twin="")
    assert not report.adapted and {n.split(".")[1] for n in report.fresh} == {"seg_layers"}
    after.load_state_dict({n: t for n, t in before.state_dict().items() if "seg_layers" in n}, strict=False)
    assert all(torch.equal(t, before.state_dict()[n]) for n, t in after.state_dict().items())


def with_carry(trainer, kind):
    class Trainer(trainer):
        @classmethod
        def rewritten(cls, plans, configuration):
            changed = super().rewritten(plans, configuration)
            changed["configurations"][configuration]["architecture"]["arch_kwargs"]["carry"] = kind
            return changed

    return Trainer


@pytest.mark.parametrize("network", KINDS)
@pytest.mark.parametrize(("kind", "other"), [("gated", "sum"), ("sum", "gated"), ("gated", "gated")])
def test_weights_move_between_kinds_of_carry_whose_own_parameters_start_anew(network, kind, other):
    source, target = (with_carry(trainer_of(network), carry) for carry in (kind, other))
    checkpoint, before = make_checkpoint(source, MIDDLE)
    trained = trained_network(checkpoint)
    after = target.new_network(make_plans(x=MIDDLE), "x", DATASET_JSON)
    _, report = convert(checkpoint, after, [trained_layout(trained)], trained)
    gates = {n for n in before.state_dict().keys() | after.state_dict().keys() if n.endswith(".carry.gate")}
    assert gates and not report.adapted
    where = {("gated", "sum"): [*report.skipped], ("sum", "gated"): report.fresh, ("gated", "gated"): report.loaded}
    assert gates <= {*where[kind, other]}
    assert {n for n in report.fresh if n not in gates} == {n for n in report.fresh if ".seg_layers." in n}


def test_published_weights_fill_networks_whose_carry_has_parameters():
    network = with_carry(trainer_of("SwinUNETR"), "gated").new_network(make_plans(x=DEEP), "x", DATASET_JSON)
    _, report = convert(monai_network().state_dict(), network, known_layouts())
    assert any(n.endswith(".carry.gate") for n in report.fresh) and not report.skipped.keys() - {
        "decoder.seg_layers.0.weight",
        "decoder.seg_layers.0.bias",
    }


def test_turned_windows_turn_their_bias_tables():
    before, after, _ = convert_between("SwinUNETR", SHALLOW, TURNED)
    bias = [n.encoder.stages[0].blocks[0].attn for n in (before, after)]
    first, second = (b.relative_position_bias_table for b in bias)
    (d, w), turned = bias[0].window_size, bias[1].window_size
    assert d != w and tuple(turned) == (w, d) and first.shape == second.shape
    assert torch.allclose(second, resize_bias_table(first, (w, d), (d, w))) and not torch.allclose(second, first)
    middle = first.shape[0] // 2
    assert torch.equal(first[middle], second[middle]), "the bias of a token to itself stays"


def test_sub_lattices_that_split_or_fall_together_act_alike_where_the_axis_is_constant():
    token = torch.randn(2, 3)  # two sub-lattices along the last axis
    both = torch.cat([token, token]).flatten()  # and equal along the first
    narrow, wide = torch.randn(5, 2 * 3), torch.randn(5, 4 * 3)
    torch.testing.assert_close(fold_sublattices(narrow, (2, 2), (1, 2)) @ both, narrow @ token.flatten())
    torch.testing.assert_close(fold_sublattices(wide, (1, 2), (2, 2)) @ token.flatten(), wide @ both)
    assert fold_sublattices(narrow, (3, 2), (2, 1)) is None
    norm = torch.arange(6.0)
    assert torch.equal(fold_sublattices(norm, (2, 2), (1, 2)), torch.cat([norm, norm]))


@pytest.mark.parametrize(
    ("source", "target", "network", "message"),
    [
        (SHALLOW, SHALLOW_3D, "SwinUNETR", "2D network, choose a configuration of as many dimensions"),
        (SHALLOW, SHALLOW, "NnFormer", "which fits SwinUNETR; change the trainer"),
    ],
)
def test_weights_of_other_dimensions_or_networks_say_so(source, target, network, message):
    checkpoint, _ = make_checkpoint(trainer_of("SwinUNETR"), source)
    after = trainer_of(network).new_network(make_plans(x=target), "x", OTHER)
    trained = trained_network(checkpoint)
    with pytest.raises(ValueError, match=message):
        convert(checkpoint["network_weights"], after, [trained_layout(trained)], trained)


@pytest.mark.parametrize(
    "path", ["torch.nn.Linear", "nnunet_reca.architectures.swin_unetr.Tensor", "nnunet_reca_other.SwinUNETR", None]
)
def test_only_networks_of_this_package_are_built_from_a_checkpoint(path):
    architecture = {"network_class_name": path, "arch_kwargs": {}} if path else {}
    plans = {"configurations": {"2d": {"architecture": architecture}}}
    assert trained_network({"network_weights": {}, "init_args": {"plans": plans, "configuration": "2d"}}) is None


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], {"init_args": None}, {"init_args": {"plans": []}}])
def test_other_content_is_no_trained_network(content):
    assert trained_network(content) is None


def test_checkpoint_of_another_version_says_so():
    checkpoint, _ = make_checkpoint(trainer_of("SwinUNETR"), SHALLOW)
    plans = checkpoint["init_args"]["plans"]
    plans["configurations"]["x"]["architecture"]["arch_kwargs"]["newer"] = 1
    with pytest.raises(ValueError, match="this version's SwinUNETR.*'newer'"):
        trained_network(checkpoint)


def spelled_for_another_numpy(file, core):
    """The same file, as numpy 1 ("core") or 2 ("_core") names its functions in it."""
    other = {"core": "_core", "_core": "core"}[core]
    with zipfile.ZipFile(file) as source:
        entries = {info: source.read(info) for info in source.infolist()}
    with zipfile.ZipFile(file, "w") as target:
        for info, data in entries.items():
            if info.filename.endswith("data.pkl"):
                data = data.replace(f"cnumpy.{other}.multiarray\n".encode(), f"cnumpy.{core}.multiarray\n".encode())
                assert b"cnumpy." + core.encode() in data
            target.writestr(info, data)


@pytest.mark.parametrize("core", ["core", "_core"])
def test_own_checkpoints_of_every_numpy_are_read_without_trusting_them(tmp_path, core):
    checkpoint, before = make_checkpoint(trainer_of("SwinUnet"), SHALLOW)
    checkpoint["logging"] |= {"array": np.arange(3.0), "flags": [np.bool_(True), np.float16(2)], "name": np.str_("a")}
    file = tmp_path / "checkpoint_final.pth"
    torch.save(checkpoint, file)
    spelled_for_another_numpy(file, core)
    content = read_content(file)
    assert content["logging"]["dice"] == [0.5, 3] and content["logging"]["array"].tolist() == [0, 1, 2]
    trained = trained_network(content)
    _, report = convert(content, before, [trained_layout(trained)], trained)
    assert report.part == "network_weights" and "encoder.norm.weight" in report.loaded


class Intruder:
    """Creates a file when it is unpickled."""

    def __init__(self, file):
        self.file = str(file)

    def __reduce__(self):
        return open, (self.file, "w")


def test_code_in_a_checkpoint_of_ones_own_is_not_run(tmp_path):
    checkpoint, _ = make_checkpoint(trainer_of("SwinUnet"), SHALLOW)
    checkpoint["logging"]["dice"].append(Intruder(tmp_path / "ran"))
    torch.save(checkpoint, tmp_path / "checkpoint_final.pth")
    with pytest.raises(ValueError, match="damaged, or holds pickled objects other than tensors.*--trust-pickle"):
        read_content(tmp_path / "checkpoint_final.pth")
    assert not (tmp_path / "ran").exists()


def test_an_averaged_copy_in_a_checkpoint_of_ones_own_is_found(tmp_path):
    checkpoint, before = make_checkpoint(trainer_of("SwinUnet"), SHALLOW)
    twice = {n: 2 * t for n, t in checkpoint["network_weights"].items()}
    checkpoint |= {"network_weights": {f"_orig_mod.{n}": t for n, t in checkpoint["network_weights"].items()}}
    checkpoint["ema"] = {f"module.{n}": t for n, t in twice.items()}
    trained = trained_network(checkpoint)
    for part, expected in ((None, twice), ("network_weights", before.state_dict())):
        after = trainer_of("SwinUnet").new_network(make_plans(x=SHALLOW), "x", DATASET_JSON)
        _, report = convert(checkpoint, after, [trained_layout(trained)], trained, part=part)
        assert report.part == (part or "ema")
        assert torch.equal(after.encoder.norm.weight, expected["encoder.norm.weight"])


def test_command_takes_nnunets_checkpoint_without_trusting_it_and_nnunet_loads_the_result(folders, tmp_path, capsys):
    folder = folders / "preprocessed" / "Dataset999_Test"
    folder.mkdir()
    plans = make_plans(**{"2d": ANISOTROPIC})
    (folder / "nnUNetPlans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(OTHER))
    checkpoint, before = make_checkpoint(trainer_of("SwinUnet"), SHALLOW)
    source, output = tmp_path / "checkpoint_final.pth", tmp_path / "weights.pth"
    torch.save(checkpoint, source)
    words = ["-tr", "nnUNetTrainerSwinUnetReca_tiny", "-d", "999", "-c", "2d", "-o", str(output)]
    assert main([str(source), *words]) == 0
    assert "layout: SwinUnet of nnunet_reca" in capsys.readouterr().out
    network = trainer_of("SwinUnet").new_network(plans, "2d", OTHER)
    load_pretrained_weights(network, str(output))
    first, second = (n.encoder.stages[0].blocks[1].attn.qkv.weight for n in (before, network))
    assert torch.equal(first, second)

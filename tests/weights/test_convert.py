"""Files with the key layouts of published checkpoints, made by the libraries that define them."""

import json
import sys
import types

import numpy as np
import pytest
import torch
from nnunetv2.run.load_pretrained_weights import load_pretrained_weights
from support.golden_io import golden_cases
from support.golden_network import as_list
from support.plan_factory import DATASET_JSON, make_configuration, make_plans
from support.published_states import monai_network, our_network, self_supervised

from nnunet_reca import trainers
from nnunet_reca.architectures import NnFormer, SwinUnet, SwinUNETR
from nnunet_reca.cli.convert_weights import main
from nnunet_reca.weights import nnformer, rename, swin_unetr
from nnunet_reca.weights.adapt import fold_sublattices, match_input_channels, resize_bias_table
from nnunet_reca.weights.checkpoint import read_checkpoint
from nnunet_reca.weights.convert import convert
from nnunet_reca.weights.layouts import known_layouts


def copy_heads(network, source):
    """The converter leaves heads to nnU-Net; the comparison of outputs needs the source's."""
    head = source.out.conv.conv
    network.decoder.seg_layers[0].load_state_dict(head.state_dict())


@pytest.mark.parametrize(("dimensions", "size"), [(2, (64, 96)), (3, (64, 32, 32))])
@pytest.mark.parametrize("merging", ["merging", "mergingv2"])
def test_monai_swin_unetr_gives_the_same_output(dimensions, size, merging):
    source = monai_network(dimensions, downsample=merging)
    network = our_network(dimensions)
    _, report = convert(source.state_dict(), network, known_layouts(merging))
    copy_heads(network, source)
    x = torch.randn(1, 1, *size)
    torch.testing.assert_close(network(x), source(x), atol=1e-4, rtol=1e-4)
    assert not report.adapted and set(report.fresh) == {
        n for n, _ in network.named_parameters() if n.startswith("decoder.seg_layers.")
    }


@pytest.mark.parametrize("merging", ["merging", "mergingv2", "duplicated"])
def test_in_2d_every_merging_gives_the_same_output(merging):
    """There the published code has one order of the sub-lattices under all names."""
    source, network = monai_network(2), our_network(2)
    convert(source.state_dict(), network, known_layouts(merging))
    copy_heads(network, source)
    x = torch.randn(1, 1, 64, 64)
    torch.testing.assert_close(network(x), source(x), atol=1e-4, rtol=1e-4)


def duplicated_golden_cases():
    cases = [c for c in golden_cases("SwinUNETR") if c.recurrent and c.config["constructor"]["spatial_dims"] == 3]
    return [c for c in cases if c.config["constructor"].get("downsample") == "merging"][:1]


def converted_golden(case, merging):
    arguments, _ = swin_unetr.published_arguments(case.config["constructor"], recurrent=True, duplicated=True)
    network = SwinUNETR(**{**arguments, "duplicated_sublattices": False}).eval()
    _, report = convert(case.state_dict(), network, known_layouts(merging))
    head = rename(case.state_dict(), swin_unetr.swin_unetr_rules(3, "duplicated"))
    network.load_state_dict({n: t for n, t in head.items() if "seg_layers" in n}, strict=False)
    return network, report


@pytest.mark.parametrize("case", duplicated_golden_cases(), ids=str)
def test_golden_old_merging_is_folded_close_to_the_published_output(case):
    output = case.array("output")
    agreement = {}
    for merging in ("merging", "duplicated"):
        network, report = converted_golden(case, merging)
        agreement[merging] = (network(case.array("input")).argmax(1) == output.argmax(1)).float().mean().item()
        assert "merging" in report.note
    assert agreement["duplicated"] > 0.93 > agreement["merging"], agreement


def test_folded_merging_sums_repeated_columns_and_can_learn_the_missing_ones():
    """Published columns are for offsets 000 100 010 001 101 010 001 111; the network's are in row-major order."""
    source, network = monai_network(3), our_network(3)
    convert(source.state_dict(), network, known_layouts("duplicated"))
    state, merge = source.state_dict(), network.encoder.downsamples[0]
    weight, scale, shift = (
        state[f"swinViT.layers1.0.downsample.{n}"] for n in ("reduction.weight", "norm.weight", "norm.bias")
    )
    columns = (weight * scale).chunk(8, dim=1)
    for rank, parts in enumerate(([0], [3, 6], [2, 5], [], [1], [4], [], [7])):
        expected = sum((columns[i] for i in parts), torch.zeros_like(columns[0]))
        torch.testing.assert_close(merge.reduction.weight.chunk(8, dim=1)[rank], expected)
    torch.testing.assert_close(merge.reduction.weight @ merge.norm.bias, weight @ shift, atol=1e-5, rtol=1e-4)
    network(torch.randn(1, 1, 64, 32, 32)).square().mean().backward()
    assert all(chunk.abs().max() > 0 for chunk in merge.reduction.weight.grad.chunk(8, dim=1))


@pytest.mark.parametrize(
    ("container", "prefix", "extra"),
    [
        ("state_dict", "module.", "module.rotation_head.weight"),
        ("model", "encoder.", "decoder.0.weight"),
        ("state_dict", "swinViT.", "contrastive_head.weight"),
    ],
)
def test_self_supervised_encoders_give_the_same_features(tmp_path, container, prefix, extra):
    source = monai_network()
    file = tmp_path / "ssl.pt"
    torch.save({container: {**self_supervised(source, prefix), extra: torch.ones(2, 2)}, "epoch": 3}, file)
    network = our_network()
    _, report = convert(read_checkpoint(file), network, known_layouts())
    assert all(name.startswith("decoder.") for name in report.fresh)
    x = torch.randn(1, 1, 64, 96)
    for ours, theirs in zip(network.encoder(x), source.swinViT(x, True), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_other_channels_windows_depth_and_strides_are_adapted_and_reported():
    source = monai_network(3)
    strides = [[1, 1, 1], [1, 2, 2], [1, 2, 2], [2, 2, 2]]
    kernels = [[1, 3, 3], [1, 3, 3], [3, 3, 3], [3, 3, 3]]
    network = SwinUNETR(
        2,
        5,
        strides=strides,
        kernel_sizes=kernels,
        feature_size=12,
        depths=[2, 2],
        num_heads=[1, 2],
        window_sizes=[[5, 8, 7], [5, 7, 7]],
    )
    _, report = convert(source.state_dict(), network, known_layouts())
    text = str(report)
    for name, note in (
        ("encoder.patch_embed.proj.weight", "convolution [1, 2, 2, 2] -> [2, 1, 2, 2]"),
        ("encoder.stages.0.blocks.0.attn.relative_position_bias_table", "bias table for window (5, 8, 7)"),
        ("encoder.downsamples.0.reduction.weight", "merging folded to stride (1, 2, 2)"),
        ("decoder.ups.0.upsample.weight", "convolution [12, 2, 2, 2] -> [12, 1, 2, 2]"),
    ):
        assert f"{name}: {note}" in text
    assert report.skipped["encoder.stages.3.blocks.1.norm1.bias"].startswith("the network of this plan has no such")
    assert any(n.startswith("decoder.bottleneck") for n in report.fresh)
    assert network(torch.randn(1, 2, 4, 32, 24)).isfinite().all()


def test_sum_of_equal_channels_acts_like_the_source_channel():
    weight = torch.randn(4, 3, 2, 2)
    assert torch.allclose(match_input_channels(weight, 1).sum(1), weight.sum(1))
    assert torch.allclose(match_input_channels(weight, 7).sum(1), weight.sum(1))


def test_smaller_window_keeps_the_bias_of_every_offset_and_a_larger_one_the_corners():
    table = torch.arange(25.0 * 2).view(25, 2)
    assert resize_bias_table(table, (2, 3))[:, 0].tolist() == table.view(5, 5, 2)[1:4, :, 0].flatten().tolist()
    larger = resize_bias_table(table, (3, 5)).view(5, 9, 2)
    assert torch.equal(larger[:, ::2], table.view(5, 5, 2))
    assert resize_bias_table(table[:24], (2, 3)) is None


def test_folded_merging_acts_alike_where_the_unmerged_axis_is_constant():
    weight = torch.randn(5, 4 * 3)
    folded = fold_sublattices(weight, (1, 2))
    token = torch.randn(2, 3)  # two sub-lattices along the last axis, equal along the first
    assert torch.allclose(folded @ token.flatten(), weight @ torch.cat([token, token]).flatten(), atol=1e-5)


@pytest.mark.parametrize("case", golden_cases("NnFormer"), ids=str)
def test_golden_nnformer_converts_to_the_exact_index_with_equal_output(case):
    arguments = nnformer.published_arguments(case.config["constructor"], recurrent=case.recurrent)
    network = NnFormer(**{**arguments, "index_scheme": "exact"}).eval()
    convert(case.state_dict(), network, known_layouts())
    heads = rename(case.state_dict(), nnformer.nnformer_rules())
    network.load_state_dict({n: t for n, t in heads.items() if "seg_layers" in n}, strict=False)
    outputs = as_list(network(case.array("input")))
    for output, stem in zip(outputs, case.stems("output"), strict=True):
        torch.testing.assert_close(output, case.array(stem), atol=1e-4, rtol=0)


@pytest.mark.parametrize("part", ["encoder10", "encoder2", "encoder3"])
def test_truncated_checkpoint_of_a_full_depth_network_is_an_error(part):
    state = {n: t for n, t in monai_network().state_dict().items() if not n.startswith(f"{part}.")}
    with pytest.raises(ValueError, match="missing in the file"):
        convert(state, our_network(), known_layouts())


def test_weights_of_other_dimensions_say_so():
    with pytest.raises(ValueError, match="weights of a 3D network, choose a configuration of as many dimensions"):
        convert(monai_network(3).state_dict(), our_network(2), known_layouts())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(surprise=torch.ones(1)), "1 unknown: surprise"),
        (lambda s: s.pop("swinViT.layers2.0.blocks.1.norm1.bias"), "encoder.stages.1.blocks.1.norm1.bias: missing"),
        (lambda s: s.update({"swinViT.patch_embed.proj.bias": torch.ones(7)}), r"expected \(12,\), got \(7,\)"),
    ],
)
def test_checkpoints_that_do_not_fit_are_errors_and_change_nothing(change, message):
    state = monai_network().state_dict()
    change(state)
    network = our_network()
    before = {n: t.clone() for n, t in network.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        convert(state, network, known_layouts())
    assert all(torch.equal(t, before[n]) for n, t in network.state_dict().items())


def test_weights_of_another_network_say_which():
    strides = [[1, 1], [4, 4], [2, 2]]
    other = SwinUnet(1, 2, strides=strides, embed_dim=12, depths=[1, 1], num_heads=[1, 2], window_sizes=[3, 3])
    with pytest.raises(ValueError, match="for SwinUnet, got SwinUNETR .* fits SwinUNETR; change the trainer"):
        convert(monai_network().state_dict(), other, known_layouts())


def test_unknown_layout_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"layouts SwinUNETR \(MONAI or RecA\), .* names such as \['a', 'b'\]"):
        convert({"a": torch.ones(1), "b": torch.ones(1)}, our_network(), known_layouts())


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda f: None, "does not exist"),
        (lambda f: f.write_bytes(b"not a checkpoint"), "cannot be read|is damaged"),
        (lambda f: torch.save({"epoch": 3}, f), r"named tensors, got keys \['epoch'\]"),
        (lambda f: torch.save([1, 2], f), "hold a state dict, got list"),
        (lambda f: torch.save({"state_dict": {"a": Opaque()}}, f), "--trust-pickle"),
    ],
)
@pytest.mark.parametrize("suffix", [".pt", ".npz", ".safetensors"])
def test_unusable_files_say_why(tmp_path, write, message, suffix):
    file = tmp_path / f"weights{suffix}"
    write(file)
    with pytest.raises(ValueError, match=message if suffix == ".pt" else file.name):
        read_checkpoint(file)


def test_trusted_pickle_of_an_unknown_module_says_what_is_missing(tmp_path):
    module = types.ModuleType("their_training_code")
    module.Opaque = type("Opaque", (), {"__module__": "their_training_code"})
    sys.modules["their_training_code"] = module
    torch.save({"state_dict": {"a": torch.ones(1)}, "config": module.Opaque()}, tmp_path / "weights.pt")
    del sys.modules["their_training_code"]
    with pytest.raises(ValueError, match="No module named 'their_training_code'.*save its state dict alone"):
        read_checkpoint(tmp_path / "weights.pt", trust=True)


class Opaque:
    pass


def test_npz_and_safetensors_are_read(tmp_path):
    from safetensors.torch import save_file

    np.savez(tmp_path / "a.npz", **{"Transformer/x": np.ones((2, 3))})
    save_file({"module.x": torch.ones(2, 3)}, tmp_path / "a.safetensors")
    assert read_checkpoint(tmp_path / "a.npz")["Transformer/x"].shape == (2, 3)
    assert list(read_checkpoint(tmp_path / "a.safetensors")) == ["module.x"]


@pytest.fixture
def planned(folders):
    """A planned 2D data set of two channels."""
    folder = folders / "preprocessed" / "Dataset999_Test"
    folder.mkdir()
    plans = make_plans(**{"2d": make_configuration([64, 96], [[1, 1]] + [[2, 2]] * 5)})
    dataset = DATASET_JSON | {"channel_names": {"0": "T1", "1": "T2"}}
    (folder / "nnUNetPlans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    return plans, dataset


def test_command_writes_what_nnunet_loads_and_prints_the_report(planned, tmp_path, capsys):
    source = tmp_path / "monai.pt"
    torch.save({"state_dict": monai_network().state_dict()}, source)
    output = tmp_path / "out" / "weights.pth"
    name = "nnUNetTrainerSwinUNETRReca_tiny"
    words = [str(source), "-tr", name, "-d", "999", "-c", "2d", "-o", str(output)]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "layout: SwinUNETR (MONAI or RecA)" in text and "encoder.patch_embed.proj.weight: convolution" in text
    assert f"-pretrained_weights {output}" in text

    network = getattr(trainers, name).new_network(planned[0], "2d", planned[1])
    load_pretrained_weights(network, str(output))
    norm = monai_network().state_dict()["swinViT.layers1.0.blocks.1.norm1.weight"]
    assert torch.equal(network.encoder.stages[0].blocks[1].norm1.weight, norm)

    assert main(words) == 1 and "say --overwrite" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0


def test_output_that_cannot_be_written_is_one_line(planned, tmp_path, capsys):
    source = tmp_path / "monai.pt"
    torch.save(monai_network().state_dict(), source)
    (tmp_path / "file").touch()
    for output in (tmp_path, tmp_path / "file" / "weights.pth"):
        words = [str(source), "-tr", "nnUNetTrainerSwinUNETR_tiny", "-d", "999", "-c", "2d", "-o", str(output)]
        assert main([*words, "--overwrite"]) == 1
        error = capsys.readouterr().err
        assert str(output) in error and len(error.strip().splitlines()) == 1
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-tr", "nnUNetTrainer", "-d", "999", "-c", "2d"], "expected a trainer of nnunet_reca"),
        (["-tr", "nnUNetTrainerSwinUNETR", "-d", "998", "-c", "2d"], "998"),
        (["-tr", "nnUNetTrainerSwinUNETR", "-d", "999", "-c", "3d_fullres"], r"got '3d_fullres'"),
        (["-tr", "nnUNetTrainerSwinUNETR", "-d", "999", "-c", "2d", "-p", "other"], "nnUNetv2_plan_and_preprocess"),
        (["-tr", "nnUNetTrainerSwinUNETR", "-d", "999", "-c", "2d"], "choose the size of the network"),
    ],
)
def test_command_fails_with_one_line_and_writes_nothing(planned, tmp_path, capsys, words, message):
    source, output = tmp_path / "monai.pt", tmp_path / "weights.pth"
    torch.save(monai_network().state_dict(), source)
    assert main([str(source), *words, "-o", str(output)]) == 1
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1
    assert not output.exists()


def words_for(source, output, trainer="nnUNetTrainerSwinUNETRReca_tiny"):
    return [str(source), "-tr", trainer, "-d", "999", "-c", "2d", "-o", str(output)]


@pytest.fixture
def own_trainers(tmp_path, monkeypatch):
    """A folder of trainers that nnU-Net searches, with the FAQ's subclass, one of a subclass, and somebody else's."""
    folder = tmp_path / "my_trainers"
    folder.mkdir()
    (folder / "gentle.py").write_text(
        "import dataclasses\n"
        "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n"
        "from nnunet_reca.trainers import nnUNetTrainerSwinUNETRReca_tiny\n"
        "class nnUNetTrainerGentle(nnUNetTrainerSwinUNETRReca_tiny):\n"
        "    def __init__(self, plans, configuration, fold, dataset_json, device):\n"
        "        super().__init__(plans, configuration, fold, dataset_json, device)\n"
        "        self.recipe = dataclasses.replace(self.recipe, initial_lr=1e-4)\n"
        "class nnUNetTrainerSwinUNETRReca_myLoss(nnUNetTrainerGentle):\n"
        "    pass\n"
        "class nnUNetTrainerOfSomebody(nnUNetTrainer):\n"
        "    pass\n"
    )
    monkeypatch.setenv("nnUNet_extTrainer", str(folder))
    return folder


@pytest.mark.parametrize("name", ["nnUNetTrainerGentle", "nnUNetTrainerSwinUNETRReca_myLoss"])
def test_command_converts_for_trainers_of_ones_own(planned, own_trainers, tmp_path, capsys, name):
    torch.save(monai_network().state_dict(), tmp_path / "monai.pt")
    assert main(words_for(tmp_path / "monai.pt", tmp_path / "weights.pth", name)) == 0, capsys.readouterr().err
    assert f"-tr {name} -pretrained_weights" in capsys.readouterr().out
    network = trainers.nnUNetTrainerSwinUNETRReca_tiny.new_network(planned[0], "2d", planned[1])
    load_pretrained_weights(network, str(tmp_path / "weights.pth"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nnUNetTrainerOfSomebody", "or a subclass of one in a folder that nnUNet_extTrainer names"),
        ("nnUNetTrainerNobody", "or a subclass of one in a folder that nnUNet_extTrainer names"),
        ("nnUNetTrainerSwinUNETRReca_tiny_5epoch", "for example nnUNetTrainerSwinUNETRReca_tiny_lr3en4_50epochs"),
        ("Needy", "look-up of Needy fails: ModuleNotFoundError: No module named 'not_installed_here'"),
    ],
)
def test_trainers_that_cannot_be_had_say_why(planned, own_trainers, tmp_path, capsys, name, message):
    if name == "Needy":
        (own_trainers / "needy.py").write_text("import not_installed_here\n")
    torch.save(monai_network().state_dict(), tmp_path / "monai.pt")
    assert main(words_for(tmp_path / "monai.pt", tmp_path / "weights.pth", name)) == 1
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1


def test_command_takes_the_part_that_is_asked_for(planned, tmp_path, capsys):
    state = monai_network().state_dict()
    content = {"student": {f"net.{n}": t for n, t in state.items()}, "teacher": {n: 2 * t for n, t in state.items()}}
    torch.save(content, tmp_path / "both.pt")
    output, name = tmp_path / "weights.pth", "encoder.stages.0.blocks.0.norm1.weight"
    for words, factor in ((["--part", "student"], 1), ([], 2)):
        assert main([*words_for(tmp_path / "both.pt", output), *words, "--overwrite"]) == 0
        weights = torch.load(output)["network_weights"]
        assert torch.equal(weights[name], factor * state["swinViT.layers1.0.blocks.0.norm1.weight"])
        text = capsys.readouterr().out
        assert ("teacher; student.net would fit, too" in text) is (factor == 2)
    assert main([*words_for(tmp_path / "both.pt", output), "--part", "tutor", "--overwrite"]) == 1
    assert "student.net, teacher, got 'tutor'" in capsys.readouterr().err

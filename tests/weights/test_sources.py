"""Sources that are no files: the libraries' loading functions are replaced, so that nothing is downloaded."""

import json

import huggingface_hub
import pytest
import timm
import torch
import torchvision
from support.plan_factory import DATASET_JSON, make_configuration, make_plans
from support.published_states import timm_swin, torchvision_swin

from nnunet_reca import trainers
from nnunet_reca.cli.convert_weights import main
from nnunet_reca.weights.sources import read_source

#: width, depths and heads of the tiny Swin-Unet
TINY = 48, (2, 2, 2, 2), (3, 6, 12, 24)


@pytest.fixture
def libraries(monkeypatch, tmp_path):
    """The libraries, with small networks under the names of published ones; their calls are kept."""
    calls = []

    def create_model(name, pretrained):
        calls.append((name, pretrained))
        if name != "swin_tiny_patch4_window7_224":
            raise RuntimeError(f"Unknown model ({name})")
        return timm_swin(*TINY)

    def get_model(name, weights):
        calls.append((name, weights))
        if name != "swin_t":
            raise ValueError(f"Unknown model {name}")
        return torchvision_swin(*TINY)

    def download(repository, file):
        calls.append((repository, file))
        if repository != "microsoft/swin":
            raise OSError("We couldn't connect to the hub\nmore lines")
        torch.save({"model": timm_swin(*TINY).state_dict()}, tmp_path / "hub.bin")
        return str(tmp_path / "hub.bin")

    monkeypatch.setattr(timm, "create_model", create_model)
    monkeypatch.setattr(torchvision.models, "get_model", get_model)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return calls


@pytest.mark.parametrize(
    ("source", "call"),
    [
        ("timm:swin_tiny_patch4_window7_224", ("swin_tiny_patch4_window7_224", True)),
        ("torchvision:swin_t", ("swin_t", "DEFAULT")),
        ("hf:microsoft/swin/folder/pytorch_model.bin", ("microsoft/swin", "folder/pytorch_model.bin")),
    ],
)
def test_command_starts_from_weights_of_a_library(libraries, folders, capsys, source, call):
    folder = folders / "preprocessed" / "Dataset999_Test"
    folder.mkdir()
    plans = make_plans(**{"2d": make_configuration([64, 96], [[1, 1]] + [[2, 2]] * 5)})
    (folder / "nnUNetPlans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(DATASET_JSON))
    words = ["-tr", "nnUNetTrainerSwinUnetReca_tiny", "-d", "999", "-c", "2d", "-o", str(folders / "weights.pth")]
    status = main([source, *words])
    assert libraries == [call] and (status, capsys.readouterr().err) == (0, "")
    content = torch.load(folders / "weights.pth")
    assert content["source"] == source
    network = trainers.nnUNetTrainerSwinUnetReca_tiny.new_network(plans, "2d", DATASET_JSON)
    network.load_state_dict(content["network_weights"])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "timm:swin_imaginary",
            r"timm:swin_imaginary cannot be fetched: Unknown model \(swin_imaginary\); ",
        ),
        ("torchvision:swin_x", "torchvision:swin_x cannot be fetched: Unknown model swin_x; sources are"),
        (
            "hf:nobody/nothing/file.bin",
            "fetched: We couldn't connect to the hub; sources .* hf:OWNER/REPO/FILE",
        ),
        ("hf:microsoft/swin", "expected OWNER/REPO/FILE, got 'microsoft/swin'"),
    ],
)
def test_unknown_names_and_missing_connections_are_one_clear_error(libraries, source, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_source(source)
    assert "\n" not in str(caught.value)


def test_a_library_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torchvision", None)
    with pytest.raises(ValueError, match="torchvision:swin_t cannot be fetched: .*torchvision"):
        read_source("torchvision:swin_t")


def test_anything_else_is_a_file(tmp_path):
    for source in ("hub:a/b/c", r"C:\\weights.pt", "timm.pt"):
        with pytest.raises(ValueError, match="does not exist"):
            read_source(source)

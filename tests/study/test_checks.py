"""Whatever would keep a study from running is said at once, all of it together, and nothing is written."""

import importlib.util

import pytest
from support.fake_nnunet import DATASET

from nnunet_reca.cli.study import main

pytest.importorskip("snakemake")


@pytest.fixture
def said(nnunet, capsys):
    """What a call says on standard error; it must not start or write anything."""

    def files():
        return sorted(file for file in nnunet.folder.rglob("*") if nnunet.folder / "tmp" not in file.parents)

    def call(*words, status=1):
        before = files()
        assert main([*words, "-o", str(nnunet.study)]) == status
        assert files() == before
        return capsys.readouterr().err

    return call


def test_wrong_trainer_configuration_data_set_and_device_are_named_together(nnunet, said, monkeypatch):
    """Among them a class of somebody's own, derived from one of ours, which has to suit the plans, too."""
    nnunet.plan()
    own = nnunet.folder / "own"
    own.mkdir()
    text = "from nnunet_reca.trainers import nnUNetTrainerDATransUnetReca\n"
    text += "class MyTrainer(nnUNetTrainerDATransUnetReca):\n    pass\n"
    (own / "my_trainer.py").write_text(text)
    monkeypatch.setenv("nnUNet_extTrainer", str(own))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    names = ("nnUNetTrainerSwinUNETRReca_huge", "nnUNetTrainerOfNobody", "MyTrainer", "nnUNetTrainerDATransUnet")
    found = said("-d", "998", "997", "-tr", *names, "-c", "3d_fullres", "3d_funny", "-num_gpus", "2")
    for part in (
        "nnUNetTrainerSwinUNETRReca_huge: expected a trainer name of the form",
        "nnUNetTrainerOfNobody: nnU-Net finds none of this name",
        f"{DATASET}, nnUNetPlans, MyTrainer: expected a 2D configuration for DATransUnet, got 3d_fullres",
        "nnUNetTrainerDATransUnet: expected a 2D configuration for DATransUnet, got 3d_fullres",
        "expected a configuration of 2d, 3d_fullres, got 3d_funny",
        "data set 997: expected one of this name or number",
        "device cuda: PyTorch sees no GPU here",
    ):
        assert part in found


def test_before_there_are_plans_names_of_configurations_decide_what_fits(said):
    words = ("-d", "998", "--device", "cpu", "-tr", "nnUNetTrainerDATransUnet")
    found = said(*words, "-c", "2d", "3d_fullres", "3d_funny")
    assert "nnUNetTrainerDATransUnet: takes no 3D configuration, got 3d_fullres; use 2d" in found
    assert "configuration 3d_funny: expected one that nnU-Net plans" in found
    said(*words, "-c", "2d", "--dry-run", status=0)


def test_a_missing_snakemake_names_the_extra_and_an_old_python_its_version(said, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "snakemake" else found(name, *a))
    words = ("-d", "998", "-tr", "nnUNetTrainer", "--device", "cpu")
    assert 'pip install "nnunet-reca[study]"' in said(*words)
    monkeypatch.setattr("nnunet_reca.study.checks.sys.version_info", (3, 10))
    assert "it needs Python 3.11 or newer" in said(*words)


def test_folders_that_are_missing_or_cannot_be_written_are_named(nnunet, said, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    words = ("-d", "998", "-tr", "nnUNetTrainer", "--device", "cpu")
    monkeypatch.delenv("nnUNet_raw")
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    found = said(*words)
    assert "nnUNet_raw is not set" in found and "nnUNet_results = " in found and "is not writable" in found
    assert f"the study's folder {nnunet.study} cannot be written: Permission denied" in found


def test_seeds_in_a_name_and_beside_it_do_not_go_together(said):
    found = said("-d", "998", "-tr", "nnUNetTrainerSwinUNETR_seed1", "--seeds", "0", "--device", "cpu")
    assert "names its seed" in found


def test_plans_that_nobody_makes_are_named(said):
    found = said("-d", "998", "-tr", "nnUNetTrainer", "-p", "myPlans", "--device", "cpu")
    assert "plans myPlans: " in found and "name a planner with -pl" in found


def test_without_anything_asked_for_the_command_says_how_to_ask(capsys):
    assert main([]) == 1 and "expected a study's file or folder, or -d and -tr" in capsys.readouterr().err
    assert main(["nowhere.yaml"]) == 1 and "got nowhere.yaml" in capsys.readouterr().err

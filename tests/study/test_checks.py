"""Whatever would keep a study from running is said at once, all of it together, and nothing is written."""

import importlib.util

import pytest
from support.fake_nnunet import DATASET

from nnunet_reca.cli.study import main

pytest.importorskip("snakemake")


@pytest.fixture
def said(nnunet, capsys):
    """What a call says on standard error; it must not start or write anything."""
    before = sorted(nnunet.folder.rglob("*"))

    def call(*words, status=1):
        assert main([*words, "-o", str(nnunet.study)]) == status
        assert sorted(nnunet.folder.rglob("*")) == before
        return capsys.readouterr().err

    return call


def test_wrong_trainer_configuration_data_set_and_device_are_named_together(said, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    names = ("nnUNetTrainerSwinUNETRReca_huge", "nnUNetTrainerOfNobody", "nnUNetTrainerDATransUnet")
    found = said("-d", "998", "997", "-tr", *names, "-c", "3d_fullres", "3d_funny", "-num_gpus", "2")
    for part in (
        "nnUNetTrainerSwinUNETRReca_huge: expected a trainer name of the form",
        "nnUNetTrainerOfNobody: nnU-Net finds none of this name",
        "nnUNetTrainerDATransUnet: takes no 3D configuration, got 3d_fullres; use 2d",
        "configuration 3d_funny: expected one that nnU-Net plans",
        "data set 997: expected one of this name or number",
        "device cuda: PyTorch sees no GPU here",
    ):
        assert part in found
    assert "the study cannot start, 6 problems" in found


def test_plans_that_are_there_decide_what_fits(nnunet, capsys):
    nnunet.plan()
    words = ["-d", "998", "-o", str(nnunet.study), "--device", "cpu", "--dry-run", "-tr", "nnUNetTrainerDATransUnet"]
    assert main([*words, "-c", "2d"]) == 0
    assert main([*words, "-c", "3d_fullres", "3d_lowres"]) == 1
    found = capsys.readouterr().err
    assert "expected a 2D configuration for DATransUnet, got 3d_fullres" in found
    assert "expected a configuration of 2d, 3d_fullres, got 3d_lowres" in found


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


def test_a_subclass_of_ours_is_found_and_must_suit_the_plans(nnunet, tmp_path, capsys, monkeypatch):
    nnunet.plan()
    (tmp_path / "own").mkdir()
    text = "from nnunet_reca.trainers import nnUNetTrainerDATransUnetReca\n"
    text += "class MyTrainer(nnUNetTrainerDATransUnetReca):\n    pass\n"
    (tmp_path / "own" / "my_trainer.py").write_text(text)
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path / "own"))
    words = ["-d", DATASET, "-tr", "MyTrainer", "-o", str(nnunet.study), "--device", "cpu", "--dry-run"]
    assert main(words) == 1
    assert "MyTrainer: expected a 2D configuration for DATransUnet, got 3d_fullres" in capsys.readouterr().err
    assert main([*words, "-c", "2d"]) == 0


def test_without_anything_asked_for_the_command_says_how_to_ask(capsys):
    assert main([]) == 1 and "expected a study.yaml or its folder, or -d and -tr" in capsys.readouterr().err
    assert main(["nowhere.yaml"]) == 1 and "got nowhere.yaml" in capsys.readouterr().err

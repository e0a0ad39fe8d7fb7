import sys

import pytest
import torch

from nnunet_reca._discovery import shim_directory
from nnunet_reca.cli import doctor


@pytest.fixture
def healthy(folders, monkeypatch):
    monkeypatch.setenv("nnUNet_extTrainer", shim_directory())
    monkeypatch.delenv("nnUNet_n_proc_DA", raising=False)
    monkeypatch.delenv("NNUNET_RECA_NO_DISCOVERY", raising=False)
    return folders


def report(capsys) -> tuple[int, str]:
    status = doctor.main([])
    return status, capsys.readouterr().out


def test_healthy_installation_is_ready_and_says_what_is_picked_up(healthy, capsys):
    status, text = report(capsys)
    assert status == 0 and text.endswith("Ready to train\n")
    for part in (
        f"torch {torch.__version__.split('+')[0]}",
        "nnunetv2 2.",
        "nnU-Net finds nnUNetTrainerSwinUNETRReca in nnunet_reca.trainers.swin_unetr",
        str(healthy / "results"),
    ):
        assert part in text


@pytest.mark.parametrize(("variable", "status"), [("nnUNet_raw", 0), ("nnUNet_preprocessed", 1), ("nnUNet_results", 1)])
def test_unset_folder_names_the_export(healthy, capsys, monkeypatch, variable, status):
    monkeypatch.delenv(variable)
    found, text = report(capsys)
    assert found == status
    assert f"{variable} is not set" in text and f"-> export {variable}=" in text


def test_missing_folder_names_the_mkdir(healthy, capsys):
    (healthy / "results").rmdir()
    status, text = report(capsys)
    assert status == 1 and f"-> mkdir -p {healthy / 'results'}" in text


def test_unwritable_folder_is_a_problem(healthy, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "_writable", lambda folder: not folder.endswith("results"))
    status, text = report(capsys)
    assert status == 1 and "is not writable" in text


def test_trainers_out_of_reach_name_the_export(healthy, capsys, monkeypatch):
    monkeypatch.setenv("nnUNet_extTrainer", str(healthy))
    status, text = report(capsys)
    assert status == 1
    assert "nnU-Net does not find nnUNetTrainerSwinUNETRReca" in text
    assert f"-> export nnUNet_extTrainer={shim_directory()}" in text


def test_another_class_of_the_same_name_is_reported_with_its_place(healthy, capsys, monkeypatch):
    (healthy / "theirs.py").write_text(
        "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n"
        "class nnUNetTrainerSwinUNETR(nnUNetTrainer): pass\n"
    )
    monkeypatch.setenv("nnUNet_extTrainer", f"{healthy}:{shim_directory()}")
    status, text = report(capsys)
    assert status == 0 and "nnU-Net finds another nnUNetTrainerSwinUNETR first: theirs" in text


def test_import_failure_is_a_finding_not_a_crash(healthy, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    status, text = report(capsys)
    assert status == 1 and "timm cannot be imported" in text and "-> pip install" in text


def test_unsupported_nnunet_is_a_problem(healthy, capsys, monkeypatch):
    real = doctor.importlib.metadata.version
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda n: "2.6.2" if n == "nnunetv2" else real(n))
    status, text = report(capsys)
    assert status == 1 and 'pip install "nnunetv2>=2.8.1,<3"' in text


def test_no_augmentation_workers_is_a_problem(healthy, capsys, monkeypatch):
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    status, text = report(capsys)
    assert status == 1 and "nnUNet_n_proc_DA = '0'" in text

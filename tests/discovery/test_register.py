import os

import pytest

from nnunet_reca._discovery import register, shim_directory


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, [shim_directory()]),
        ("", [shim_directory()]),
        ("/mine", ["/mine", shim_directory()]),
        (os.pathsep.join(["/mine", "/yours"]), ["/mine", "/yours", shim_directory()]),
        (os.pathsep.join([shim_directory(), "/mine"]), [shim_directory(), "/mine"]),
    ],
)
def test_shim_comes_after_the_users_own_entries_and_once(monkeypatch, before, after):
    monkeypatch.delenv("NNUNET_RECA_NO_DISCOVERY", raising=False)
    if before is None:
        monkeypatch.delenv("nnUNet_extTrainer", raising=False)
    else:
        monkeypatch.setenv("nnUNet_extTrainer", before)
    for _ in range(2):
        register()
        assert os.environ["nnUNet_extTrainer"].split(os.pathsep) == after


def test_opt_out_leaves_the_environment_alone(monkeypatch):
    monkeypatch.setenv("NNUNET_RECA_NO_DISCOVERY", "1")
    monkeypatch.setenv("nnUNet_extTrainer", "/mine")
    register()
    assert os.environ["nnUNet_extTrainer"] == "/mine"

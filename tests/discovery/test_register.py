import os
import subprocess
import sys
from pathlib import Path

import pytest

import nnunet_reca
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


def test_the_start_up_hook_imports_nothing_beside_itself():
    code = """
import os, sys
sys.path.insert(0, sys.argv[1])
before = set(sys.modules)
from nnunet_reca._discovery import register
register()
print(sorted(set(sys.modules) - before))
"""
    root = Path(nnunet_reca.__file__).parents[1]
    done = subprocess.run([sys.executable, "-S", "-c", code, root], capture_output=True, text=True, check=True)
    assert done.stdout == "['nnunet_reca', 'nnunet_reca._discovery']\n"

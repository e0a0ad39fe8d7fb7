"""The scripts around a SLURM of one's own refuse politely; what they do is seen by running them by hand."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.parametrize("script", ["slurm_cluster.py", "study_on_slurm.py"])
def test_missing_programs_are_named_with_the_way_to_install_them(tmp_path, script):
    folder = tmp_path / "work"
    words = [str(folder)] if script == "slurm_cluster.py" else ["--work", str(folder)]
    environment = {**os.environ, "PATH": str(tmp_path)}
    called = subprocess.run([sys.executable, HERE / script, *words], env=environment, capture_output=True, text=True)
    assert called.returncode == 2 and "Traceback" not in called.stderr
    assert "apt-get install slurm-wlm munge" in called.stderr and "sbatch" in called.stderr
    assert ("nnUNetv2_reca_study on the PATH" in called.stderr) == (script == "study_on_slurm.py")
    assert not folder.exists()


def test_who_is_not_root_is_told_so(monkeypatch):
    specification = importlib.util.spec_from_file_location("slurm_cluster", HERE / "slurm_cluster.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "expected to run as root" in module.missing()[0]

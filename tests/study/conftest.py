"""Studies with commands that only pretend to train."""

import pytest
from support.fake_nnunet import FakeNnunet


@pytest.fixture
def nnunet(tmp_path, monkeypatch):
    """Folders, data and commands of :class:`FakeNnunet`, in this process's environment."""
    fake = FakeNnunet(tmp_path)
    for name, value in fake.environment.items():
        monkeypatch.setenv(name, value)
    for name in ("nnUNet_n_proc_DA", "nnUNet_def_n_proc", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    return fake

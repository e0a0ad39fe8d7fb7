import pytest


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """nnU-Net's three folders, empty."""
    for name in ("raw", "preprocessed", "results"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    return tmp_path

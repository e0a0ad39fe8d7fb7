"""nnU-Net's folders, and worker processes of pytest-xdist: they share the cores, tests that share much stay in one."""

import os
from typing import Any

import pytest

WORKERS = os.environ.get("PYTEST_XDIST_WORKER_COUNT")

if WORKERS:  # read by torch in this process, when it is imported, and in those that tests start
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(WORKERS))))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Whole modules go to a worker, the modules of ``features`` together."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "features" if "/features/" in nodeid else super()._split_scope(nodeid)

    return Scheduling(config, log)


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """nnU-Net's three folders, empty."""
    for name in ("raw", "preprocessed", "results"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    return tmp_path

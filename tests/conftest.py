"""nnU-Net's folders, and worker processes of pytest-xdist: they share the cores, tests that share much stay in one."""

import gc
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
WORKERS = os.environ.get("PYTEST_XDIST_WORKER_COUNT")

if WORKERS:  # read by torch in this process, when it is imported, and in those that tests start
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(WORKERS))))
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # nnU-Net's commands take all cores: their threads would spin

#: what takes minutes comes first, the longest of it ahead: no worker is left with it when the others have finished
FIRST = (
    "features/",
    "test_workflow.py",
    "study/",
    "integration/",
    "plans/test_any_plan.py",
    "test_option_uses.py",
    "test_export.py",
    "architectures/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the modules that are named in :data:`FIRST` ahead, in its order."""

    def rank(item: pytest.Item) -> int:
        return next((n for n, part in enumerate(FIRST) if f"/tests/{part}" in item.path.as_posix()), len(FIRST))

    items.sort(key=rank)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Whole modules go to a worker, the modules of ``features`` together."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "features" if "/features/" in nodeid else super()._split_scope(nodeid)

    return Scheduling(config, log)


@pytest.fixture(scope="module", autouse=True)
def imported_for_good() -> None:
    """The garbage collector leaves alone what is imported by now: looking through it takes half a second each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """nnU-Net's three folders, empty."""
    for name in ("raw", "preprocessed", "results"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    return tmp_path


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """A module of the benchmarks, by its name; all of them are forgotten at the end."""
    if not BENCHMARKS.is_dir():
        pytest.skip("source distributions have no benchmarks")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(sys, "path", sys.path)
    yield importlib.import_module
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, "__file__", None) or "").parent == BENCHMARKS:
            del sys.modules[name]

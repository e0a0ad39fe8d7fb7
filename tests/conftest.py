"""Worker processes of pytest-xdist: a module's tests stay together, since they share what they set up."""

import os

import pytest

WORKERS = os.environ.get("PYTEST_XDIST_WORKER_COUNT")

if WORKERS:  # read by torch in this process, when it is imported, and in those that tests start
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(WORKERS))))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group tests by file, where a test names no group of its own."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(str(item.path)))

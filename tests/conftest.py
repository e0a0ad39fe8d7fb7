"""Worker processes of pytest-xdist share the cores."""

import os

WORKERS = os.environ.get("PYTEST_XDIST_WORKER_COUNT")

if WORKERS:  # read by torch in this process, when it is imported, and in those that tests start
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(WORKERS))))

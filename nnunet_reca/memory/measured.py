"""Peak memory of a process, for the training log."""

import re
from pathlib import Path

import torch


def peak_memory(device: torch.device) -> float | None:
    """GiB: held by torch on a CUDA device, or resident in this process; None where the system does not tell.

    Linux tells it in ``/proc``; its ``getrusage`` counts what the process that started this one had, too.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 2**30
    status = Path("/proc/self/status")
    if status.is_file():
        if found := re.search(r"^VmHWM:\s*(\d+) kB$", status.read_text(encoding="utf-8"), re.MULTILINE):
            return int(found[1]) / 2**20
        return None
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30  # bytes on macOS

"""Peak memory of a process, for the training log."""

import sys

import torch


def peak_memory(device: torch.device) -> float | None:
    """GiB: held by torch on a CUDA device, or resident in this process; None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 2**30
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30

import subprocess
import sys

import numpy as np

PROGRAM = """
import numpy, torch
from nnunet_reca.memory.measured import peak_memory
before = peak_memory(torch.device("cpu"))
held = numpy.ones(2**26)  # half a GiB
print(before, peak_memory(torch.device("cpu")))
"""


def test_peak_memory_grows_by_what_is_held():
    """In a process of its own, to which what this one holds does not count."""
    held = np.ones(2**27)  # a GiB
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    before, after = map(float, run.stdout.split())
    assert 0.01 < before < 1 == held.nbytes / 2**30 and 0.4 < after - before < 0.6

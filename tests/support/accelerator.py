"""The device that tests of GPUs run on: CUDA, or the CPU, where the same tests show that they are right themselves."""

import contextlib
import gc
import importlib
import os
from collections.abc import Iterator
from unittest import mock

import torch

from nnunet_reca.ops._kinds_attention import kinds_attention

#: "cpu" has them run on the CPU
VARIABLE = "RECA_GPU_TESTS_ON"
DEVICE = os.environ.get(VARIABLE, "cuda")
#: of ``torch.compile``; on the CPU compiling itself is what would take the time
BACKEND = "inductor" if DEVICE == "cuda" else "aot_eager"


def usable() -> bool:
    return DEVICE == "cpu" or torch.cuda.is_available()


@contextlib.contextmanager
def on_the_device() -> Iterator[None]:
    """What runs on GPUs runs; on the CPU its place is taken by the CPU's own otherwise."""
    if DEVICE == "cuda":
        yield
        return
    attention = importlib.import_module("nnunet_reca.ops.window_attention")
    with mock.patch.object(attention, "_implementation", lambda x, window: kinds_attention):
        yield


def held() -> int:
    """Bytes of tensors on the device."""
    gc.collect()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated()
    storages = {
        t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()
        for t in gc.get_objects()
        if type(t) in (torch.Tensor, torch.nn.Parameter)
    }
    return sum(storages.values())

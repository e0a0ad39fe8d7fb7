"""Numeric precision of a network: chosen by the trainer's name, the same in training and prediction."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

#: option of the trainer's name -> dtype of matrix products and convolutions; None turns mixed precision off
PRECISIONS: dict[str, torch.dtype | None] = {"bf16": torch.bfloat16, "fp32": None}
#: torch tells it from 2.7 on
_is_exporting: Callable[[], bool] = getattr(torch.compiler, "is_exporting", lambda: False)


def set_precision(network: nn.Module, precision: str) -> nn.Module:
    """Let a network, which is returned, compute in a precision of its own, whatever autocast is active around it.

    nnU-Net computes in float16 mixed precision on CUDA, in float32 elsewhere. bfloat16 has float32's range.
    An exported program computes in float32: its runtime has a precision of its own, and ONNX has no autocast.

    Args:
        network: any module; its parameters, state dict and class stay as they are.
        precision: key of :data:`PRECISIONS`.

    Raises:
        ValueError: for an unknown precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"expected a precision of {sorted(PRECISIONS)}, got {precision!r}; choose one of them")
    network.forward = partial(_forward, network.forward, PRECISIONS[precision])
    return network


def _forward(forward: Callable[..., Any], dtype: torch.dtype | None, x: Tensor) -> Any:
    if _is_exporting() or x.is_meta:  # meta tensors have shapes only, and no autocast
        return forward(x)
    with torch.autocast(x.device.type, dtype=dtype, enabled=dtype is not None):
        return forward(x)

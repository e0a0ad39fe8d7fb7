"""Numeric precision of a network: chosen by the trainer's name, the same in training and prediction."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

#: option of the trainer's name -> dtype of matrix products and convolutions; None turns mixed precision off
PRECISIONS: dict[str, torch.dtype | None] = {"bf16": torch.bfloat16, "fp32": None}


def set_precision(network: nn.Module, precision: str) -> nn.Module:
    """Let a network compute in a precision of its own, whatever autocast is active around it.

    nnU-Net trains and predicts in float16 mixed precision on CUDA, and in float32 elsewhere. Values beyond 65504
    overflow float16; bfloat16 has float32's range with fewer digits.

    Args:
        network: any module; its parameters, state dict and class stay as they are.
        precision: key of :data:`PRECISIONS`.

    Returns:
        The same network.

    Raises:
        ValueError: for an unknown precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"expected a precision of {sorted(PRECISIONS)}, got {precision!r}; choose one of them")
    network.forward = partial(_forward, network.forward, PRECISIONS[precision])
    return network


def _forward(forward: Callable[..., Any], dtype: torch.dtype | None, x: Tensor) -> Any:
    with torch.autocast(x.device.type, dtype=dtype, enabled=dtype is not None):
        return forward(x)

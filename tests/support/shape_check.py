"""Check a network of a plan by its shapes: on the meta device, without memory and without arithmetic."""

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager
from torch import Tensor, nn

from nnunet_reca.blocks import attention

_INITIALISERS = ("trunc_normal_", "normal_", "uniform_", "kaiming_normal_", "kaiming_uniform_", "xavier_uniform_")


def _new(x: Tensor, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=x.dtype, device="meta")  # empty_like takes the long way itself


def _alike(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return _new(x, *x.shape)


def _broadcast(x: Tensor, other: Any, *_: Any, **__: Any) -> Tensor:
    if not isinstance(other, Tensor) or other.shape == x.shape:
        return _new(x, *x.shape)
    dtype = x.dtype if x.dtype == other.dtype else torch.result_type(x, other)
    return torch.empty(torch.broadcast_shapes(x.shape, other.shape), dtype=dtype, device="meta")


def _addmm(bias: Tensor, x: Tensor, weight: Tensor, **_: Any) -> Tensor:
    assert x.shape[1] == weight.shape[0] and bias.shape == weight.shape[1:]
    return _new(x, x.shape[0], weight.shape[1])


def _layer_norm(x: Tensor, shape: Sequence[int], *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    assert list(x.shape[-len(shape) :]) == list(shape)
    statistics = _new(x, *x.shape[: -len(shape)], *[1] * len(shape))
    return _alike(x), statistics, statistics


def _group_norm(
    x: Tensor, _weight: Any, _bias: Any, n: int, c: int, _rest: int, groups: int, *_: Any
) -> tuple[Tensor, ...]:
    assert list(x.shape[:2]) == [n, c] and c % groups == 0
    return _alike(x), _new(x, n, groups), _new(x, n, groups)


def _batch_norm(x: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _alike(x), _new(x, x.shape[1]), _new(x, x.shape[1])


#: Shapes of the operators that take the most time on the meta device, where PyTorch derives them step by step.
_SHAPES: dict[str, Callable[..., Any]] = {
    "add.Tensor": _broadcast,
    "sub.Tensor": _broadcast,
    "mul.Tensor": _broadcast,
    "mul.Scalar": _alike,
    "addmm": _addmm,
    "gelu": _alike,
    "roll": _alike,
    "_safe_softmax": _alike,
    "native_layer_norm": _layer_norm,
    "native_group_norm": _group_norm,
    "native_batch_norm": _batch_norm,
}


def _index(window: Sequence[int], *_: Any, **__: Any) -> Tensor:
    n = math.prod(window)
    return torch.empty(n, n, dtype=torch.int64, device="meta")


@contextlib.contextmanager
def shapes_only() -> Iterator[None]:
    """Shapes of the slowest operators on the meta device are taken from a short cut, and nothing is initialised."""
    library = torch.library.Library("aten", "IMPL")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Warning only once for all operators")
        for name, shape in _SHAPES.items():
            library.impl(name, shape, "Meta", allow_override=True)
        for name in _INITIALISERS:
            patch.setattr(nn.init, name, lambda tensor, *args, **kwargs: tensor)
        patch.setattr(attention, "relative_position_index", _index)
        try:
            yield
        finally:
            library._destroy()


def build(configuration: ConfigurationManager, channels: int, classes: int, *, deep_supervision: bool) -> nn.Module:
    """The network as nnU-Net builds it, on the meta device."""
    with torch.device("meta"):
        return get_network_from_plans(
            configuration.network_arch_class_name,
            configuration.network_arch_init_kwargs,
            configuration.network_arch_init_kwargs_req_import,
            channels,
            classes,
            allow_init=False,
            deep_supervision=deep_supervision,
        )


def reached(output: Tensor) -> set[Tensor]:
    """Leaves that receive a gradient from ``output``, found by walking its graph."""
    leaves, seen, waiting = set(), set(), [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            leaves.add(node.variable)
        waiting.extend(following for following, _ in node.next_functions)
    return leaves


def check_network(configuration: ConfigurationManager, channels: int, classes: int, *, stable: bool) -> None:
    """Outputs at nnU-Net's own deep-supervision scales, gradients for all parameters, and a stable state dict.

    Args:
        stable: whether to look for the same names and shapes without deep supervision, in a network of its own.
    """
    model = build(configuration, channels, classes, deep_supervision=True)
    outputs = model(torch.empty(2, channels, *configuration.patch_size, device="meta"))
    scales = (1 / np.cumprod(np.vstack(configuration.pool_op_kernel_sizes), axis=0))[: len(model.decoder.seg_layers)]
    expected = [[round(side * f) for side, f in zip(configuration.patch_size, s, strict=True)] for s in scales]
    assert [list(o.shape) for o in outputs] == [[2, classes, *sides] for sides in expected]
    gradients = reached(torch.stack([o.sum() for o in outputs]).sum())
    assert [name for name, p in model.named_parameters() if p not in gradients] == []
    if stable:
        plain = build(configuration, channels, classes, deep_supervision=False)
        shapes = ({n: t.shape for n, t in m.state_dict().items()} for m in (model, plain))
        assert next(shapes) == next(shapes)

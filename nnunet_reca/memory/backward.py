"""A backward pass in Python, node by node, for tensors on a device that is not there.

PyTorch's own engine asks the driver of a tensor's device for its streams, also where the tensor is fake. Order,
accumulation and the time at which saved tensors are freed are the engine's.
"""

import heapq
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from nnunet_reca.memory.ledger import Kind, Ledger
from nnunet_reca.memory.pretend import Pretence, Pretended
from nnunet_reca.ops._torch import holders_of_storage

#: a tensor that is there, for a pass of PyTorch's engine
_REAL = torch.zeros((), requires_grad=True)


def backward(loss: list[Tensor], pretence: Pretence) -> None:
    """Give the leaves of a graph their gradients, and free it on the way.

    Args:
        loss: a scalar, alone in a list out of which it is taken: the caller holds neither it nor other results of the
            graph with their history, which would keep what is saved.
        pretence: under which the graph was made; its ledger learns which storages are gradients.
    """

    def walk() -> None:
        with pretence.names():  # function modes end where the engine begins
            _walk(loss, pretence.ledger)

    # checkpoints compute again once per pass of the engine: the walk takes place inside of one
    torch.autograd.backward(_InEngine.apply(_REAL, walk), _REAL.detach())


class _InEngine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, work: Any) -> Tensor:
        ctx.work = work
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        ctx.work()
        return None, None


def _walk(loss: list[Tensor], ledger: Ledger) -> None:
    root: Any = loss[0].grad_fn
    buffers: dict[Any, list[Tensor | None]] = {root: [torch.ones_like(loss.pop())]}
    missing = _edges(root)
    ready = [(0, 0, root)]
    del root
    count = 0
    while ready:
        node = heapq.heappop(ready)[2]
        inputs = buffers.pop(node)
        if hasattr(node, "variable"):
            _give(node.variable, inputs, ledger)
            continue
        grads = _call(node, inputs)
        del inputs
        edges = node.next_functions
        del node
        for i, (after, number) in enumerate(edges):
            if after is None:
                continue
            buffer = buffers.setdefault(after, [None] * len(after._input_metadata))
            if grads[i] is not None:
                _add(buffer, number, _fitted(grads, i, after._input_metadata[number]))
            missing[after] -= 1
            if not missing[after]:
                del missing[after]
                count += 1
                # gradients of leaves first, then what was recorded last
                order = -sys.maxsize if hasattr(after, "variable") else -after._sequence_nr()
                heapq.heappush(ready, (order, count, after))
        del edges, after, grads


def _edges(root: Any) -> dict[Any, int]:
    """Edges that lead to each node."""
    missing: dict[Any, int] = {}
    stack = [root]
    while stack:
        for after, _ in stack.pop().next_functions:
            if after is None:
                continue
            if after not in missing:
                stack.append(after)
            missing[after] = missing.get(after, 0) + 1
    return missing


def _call(node: Any, inputs: list[Tensor | None]) -> list[Tensor | None]:
    """Gradients of a node's inputs, one for each of its edges."""
    if isinstance(node, torch.autograd.function.BackwardCFunction):
        found = node.apply(*inputs)
        found = found if isinstance(found, tuple) else (found,)
        wanted = iter([grad for grad, needed in zip(found, node.needs_input_grad, strict=True) if needed])
        return [None if after is None else next(wanted) for after, _ in node.next_functions]
    found = node(*inputs)
    return list(found) if isinstance(found, Sequence) else [found]


def _fitted(grads: list[Tensor | None], i: int, about: Any) -> Tensor:
    """A gradient in shape and dtype of what it is the gradient of; taken out of ``grads``."""
    grad, grads[i] = grads[i], None
    assert grad is not None
    if grad.shape != about.shape:
        grad = grad.sum_to_size(about.shape)
    return grad if grad.dtype == about.dtype else grad.to(about.dtype)


def _add(buffer: list[Tensor | None], number: int, grad: Tensor) -> None:
    """Accumulate in place where nobody else holds what is there, as the engine does."""
    old = buffer[number]
    if old is None:
        buffer[number] = grad
    elif _is_alone(old) and _is_dense(old):
        old.add_(grad)
    else:
        buffer[number] = old + grad


def _give(variable: Tensor, inputs: Iterable[Tensor | None], ledger: Ledger) -> None:
    """Gradient of a leaf: taken over, or copied where its layout differs."""
    (grad,) = inputs
    if grad is None:
        return
    if variable.grad is not None:
        variable.grad.add_(grad)
        return
    if grad.stride() != variable.stride():
        grad = torch.empty_like(variable).copy_(grad)
    variable.grad = grad.detach()
    assert isinstance(grad, Pretended)
    ledger.mark([grad.meta], Kind.GRADIENTS)


def _is_alone(tensor: Tensor) -> bool:
    """Whether nobody but the walk holds a tensor or its storage."""
    assert isinstance(tensor, Pretended)
    return sys.getrefcount(tensor) <= 4 and holders_of_storage(tensor.meta) <= 2


def _is_dense(tensor: Tensor) -> bool:
    return tensor.is_contiguous() or any(
        tensor.is_contiguous(memory_format=layout)
        for layout, ndim in ((torch.channels_last, 4), (torch.channels_last_3d, 5))
        if tensor.ndim == ndim
    )

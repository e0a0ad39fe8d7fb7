"""Tensors that pretend to be on a device and hold no data, and the mode under which operations make them.

PyTorch's own fake tensors do the same, and infer more; an operation on them takes several times as long, which is too
much for a planner that asks for dozens of steps.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from nnunet_reca.memory.backends import Backend
from nnunet_reca.memory.fused import fused_attention
from nnunet_reca.memory.ledger import Ledger

_READ = torch.ops.aten._local_scalar_dense.default
_DETACH = torch.ops.aten.detach.default


class Pretended(Tensor):
    """A tensor of shape, layout, dtype and device, without data; ``meta`` is the same on the meta device."""

    meta: Tensor

    @staticmethod
    def __new__(cls, meta: Tensor, device: torch.device, requires_grad: bool = False) -> "Pretended":
        tensor = Tensor._make_wrapper_subclass(
            cls,
            meta.size(),
            strides=meta.stride(),
            storage_offset=meta.storage_offset(),
            dtype=meta.dtype,
            device=device,
            requires_grad=requires_grad,
        )
        tensor.meta = meta
        return tensor

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        raise RuntimeError(f"expected {func} on pretended tensors inside of `Pretence`")


class Pretence(TorchDispatchMode):
    """While it is active, new tensors are :class:`Pretended`, and operations on such compute shapes only.

    A number that is asked of a pretended tensor is 1. Operations on real tensors alone stay real.

    Args:
        backend: device, and what is done there.
        ledger: is told of every storage.
    """

    def __init__(self, backend: Backend, ledger: Ledger) -> None:
        super().__init__()
        self.backend = backend
        self.ledger = ledger

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Pretend, until the context ends."""
        with self.backend.available(), self.names(), self:
            yield

    def names(self) -> TorchFunctionMode:
        """A mode in which the device can be named although its driver may be missing."""
        return _NoDriver(self.backend.device)

    def tensor(self, meta: Tensor) -> Pretended:
        self.ledger.see(meta)
        return Pretended(meta, self.backend.device)

    def module(self, module: nn.Module) -> None:
        """Put a module that was built on the meta device on the pretended one."""
        known: dict[Tensor, Tensor] = {}
        for part in module.modules():
            for tensors in (part._parameters, part._buffers):
                for name, tensor in tensors.items():
                    if tensor is None:
                        continue
                    if tensor not in known:
                        pretended: Tensor = self.tensor(tensor.detach().to("meta"))
                        if isinstance(tensor, nn.Parameter):
                            pretended = nn.Parameter(pretended, tensor.requires_grad)
                        known[tensor] = pretended
                    tensors[name] = known[tensor]  # type: ignore[assignment]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        seen = _Seen()
        plain = seen.unwrapped(args)
        named = {key: seen.unwrapped(value) for key, value in kwargs.items()} if kwargs else {}
        if seen.real and not seen.pretended:
            return func(*args, **(kwargs or {}))
        if func is _READ:
            return True if plain[0].dtype == torch.bool else 1.0 if plain[0].is_floating_point() else 1
        if "device" in named:
            named["device"] = "meta"
            named.pop("pin_memory", None)
        answer = self.backend.answers.get(func)
        result = func(*plain, **named) if answer is None else answer(*plain, **named)
        inside = self.backend.inside.get(func)
        wrapped = self._wrapped(result, seen)
        if inside is not None:
            self.ledger.look(inside(*plain))
        return wrapped

    def _wrapped(self, result: Any, seen: "_Seen") -> Any:
        if isinstance(result, Tensor):
            known = seen.pretended.get(id(result))
            return self.tensor(result) if known is None else known
        if isinstance(result, list | tuple):
            return type(result)(self._wrapped(part, seen) for part in result)
        return result


class _Seen:
    """Tensors among the arguments of an operation."""

    def __init__(self) -> None:
        self.pretended: dict[int, Pretended] = {}
        self.real = False

    def unwrapped(self, argument: Any) -> Any:
        if isinstance(argument, Pretended):
            self.pretended[id(argument.meta)] = argument
            return argument.meta
        if isinstance(argument, Tensor):
            self.real = True
            return argument.to("meta")
        if isinstance(argument, list | tuple):
            return type(argument)([self.unwrapped(part) for part in argument])
        return argument


class _NoDriver(TorchFunctionMode):
    """Keeps the device's name from functions that would start its driver for it; nothing moves to another device."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        if func in (Tensor.cpu, Tensor.cuda):
            return args[0]
        if func is F.scaled_dot_product_attention and self.device.type == "cuda":
            return fused_attention(*args, **named)
        if func is Tensor.to:
            args = (
                args[0],
                *(a for a in args[1:] if not isinstance(a, str | torch.device | int) or isinstance(a, bool)),
            )
            named.pop("device", None)
            if len(args) == 1 and not named.keys() - {"non_blocking"}:
                return args[0]
        elif func in (torch.tensor, torch.as_tensor):  # made of a few numbers
            named.pop("device", None)
        elif named.get("device") is not None and torch.device(named["device"]).type == self.device.type:
            named["device"] = "meta"
        return func(*args, **named)

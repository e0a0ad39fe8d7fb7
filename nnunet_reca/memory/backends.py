"""What a device does differently from others: which kernels it chooses, and what they hold while they run."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from nnunet_reca.ops._torch import pretend_cuda

aten = torch.ops.aten


@dataclass(frozen=True)
class Backend:
    """A device as far as memory is concerned.

    Attributes:
        device: as tensors and networks see it.
        unit: bytes of which its allocator gives a multiple.
        answers: operation -> what takes its place on meta tensors, where they do not know what the device does.
        inside: operation -> bytes that it holds beside its results before it ends, from its arguments.
    """

    device: torch.device
    unit: int
    answers: Mapping[Any, Callable[..., Any]] = field(default_factory=dict)
    inside: Mapping[Any, Callable[..., int]] = field(default_factory=dict)

    @contextlib.contextmanager
    def available(self) -> Iterator[None]:
        """Autocast takes the device for there."""
        with contextlib.ExitStack() as stack:
            if self.device.type == "cuda" and not torch.cuda.is_available():
                pretend_cuda()
                no = mock.Mock(return_value=False)
                stack.enter_context(mock.patch("torch.cuda.amp.common.amp_definitely_not_available", no))
                stack.enter_context(mock.patch("torch.cuda.is_bf16_supported", mock.Mock(return_value=True)))
            yield


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _layout(*tensors: Tensor) -> torch.memory_format:
    """Layout in which libraries compute a convolution: channels-last if one of its operands is."""
    for tensor in tensors:
        for layout, ndim in ((torch.channels_last, 4), (torch.channels_last_3d, 5)):
            if tensor.ndim == ndim and tensor.is_contiguous(memory_format=layout) and not tensor.is_contiguous():
                return layout
    return torch.contiguous_format


def _copies(layout: torch.memory_format, *tensors: Tensor) -> int:
    """Bytes of the copies of those tensors that have another layout."""
    return sum(_bytes(tensor) for tensor in tensors if not tensor.is_contiguous(memory_format=layout))


def _convolution(x: Tensor, weight: Tensor, *more: Any) -> Tensor:
    return aten.convolution.default(x, weight, *more).contiguous(memory_format=_layout(x, weight))


def _convolution_inside(x: Tensor, weight: Tensor, *more: Any) -> int:
    return _copies(_layout(x, weight), x, weight)


def _backward_inside(grad: Tensor, x: Tensor, weight: Tensor, *more: Any) -> int:
    return _copies(_layout(x, weight), grad, x, weight)


def _native_on_cpu(x: Tensor, weight: Tensor, transposed: bool, groups: int) -> bool:
    """Whether PyTorch takes its own convolution and not oneDNN, as in aten/src/ATen/native/Convolution.cpp."""
    if transposed or groups > 1 or x.dtype != torch.float32:
        return False
    pointwise = weight.shape[-1] == weight.shape[-2] == 1
    if pointwise and x.shape[0] < 16 and torch.get_num_threads() == 1:
        return True
    small = x.shape[0] == 1 and x.shape[:4].numel() <= 20480
    return small and min(weight.shape[-2:]) <= 3


def _columns(x: Tensor, weight: Tensor, out: Tensor) -> int:
    """Bytes of PyTorch's own convolution: what a kernel sees, once for each of its outputs, and a contiguous input."""
    kernel = weight[0].numel()
    columns = 0 if weight.shape[2:].numel() == 1 else out.shape[2:].numel() * kernel * x.element_size() * x.shape[0]
    return columns + _copies(torch.contiguous_format, x, weight)


def _convolution_on_cpu(x: Tensor, weight: Tensor, *more: Any) -> Tensor:
    if _native_on_cpu(x, weight, more[4], more[6]) and x.ndim == 5:
        return aten.convolution.default(x, weight, *more)
    return _convolution(x, weight, *more)


def _convolution_inside_on_cpu(x: Tensor, weight: Tensor, *more: Any) -> int:
    if _native_on_cpu(x, weight, more[4], more[6]):
        return _columns(x, weight, aten.convolution.default(x, weight, *more))
    return _convolution_inside(x, weight)


def _backward_inside_on_cpu(grad: Tensor, x: Tensor, weight: Tensor, *more: Any) -> int:
    if _native_on_cpu(x, weight, more[4], more[6]):
        return _columns(x, weight, grad) + _copies(torch.contiguous_format, grad)
    return _backward_inside(grad, x, weight)


# PyTorch's codes of the implementations of scaled dot-product attention, aten/src/ATen/native/transformers/sdp_utils.h
MATH, FLASH, EFFICIENT = 0, 1, 2
_HALF = (torch.float16, torch.bfloat16)


def _attention_on_cuda(
    q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, *args: Any, **kwargs: Any
) -> int:
    """PyTorch's choice on compute capability 8: flash without mask in half precision, else memory-efficient.

    9 and 10 prefer cuDNN's where no mask wants a gradient, which saves as much.
    """
    if attn_mask is None and q.dtype in _HALF and q.shape[-1] <= 256:
        return FLASH
    aligned = 8 if q.dtype in _HALF else 4
    usable = q.dtype in (*_HALF, torch.float32) and not (q.shape[-1] % aligned or v.shape[-1] % aligned)
    return EFFICIENT if usable else MATH


def _attention_on_cpu(
    q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, *args: Any, **kwargs: Any
) -> int:
    """PyTorch's choice: flash, unless the mask wants a gradient, which the kernel cannot give."""
    wants = attn_mask is not None and attn_mask.requires_grad
    return MATH if wants or dropout_p or q.shape[-1] != v.shape[-1] else FLASH


CPU = Backend(
    torch.device("cpu"),
    64,
    {aten.convolution.default: _convolution_on_cpu, aten._fused_sdp_choice.default: _attention_on_cpu},
    {
        aten.convolution.default: _convolution_inside_on_cpu,
        aten.convolution_backward.default: _backward_inside_on_cpu,
    },
)
CUDA = Backend(
    torch.device("cuda", 0),
    512,
    {aten.convolution.default: _convolution, aten._fused_sdp_choice.default: _attention_on_cuda},
    {aten.convolution.default: _convolution_inside, aten.convolution_backward.default: _backward_inside},
)
BACKENDS = {"cpu": CPU, "cuda": CUDA}

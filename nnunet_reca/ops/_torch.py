"""What this package takes from PyTorch beyond its documented interface, and what happens where a version lacks it."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

_flash_attention = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
_dispatch_modes = getattr(torch._C, "_len_torch_dispatch_stack", None)
_onednn_convolution = getattr(torch, "mkldnn_convolution", None)

_cuda_guard = getattr(torch._C, "_ensureCUDADeviceGuardSet", None)

#: Whether a training step can be followed on tensors without data. PyTorch 2.6 lacks the guard that CUDA's need, and
#: crashes where Python walks through the graph of one.
ESTIMATES_MEMORY = _cuda_guard is not None

#: Whether :func:`flash_attention` is there; where not, the package's own attention takes its place.
HAS_FLASH_ATTENTION = _flash_attention is not None


def flash_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """PyTorch's fused attention on the CPU, with the log-sum-exp of its logits, which the public function keeps back.

    Args:
        q: (windows, heads, n, head_dim); k and v with m tokens.
        bias: (heads, n, m).

    Returns:
        Attended values, (windows, heads, n, head_dim), and the log-sum-exp, (windows, heads, n).
    """
    assert _flash_attention is not None  # asked for by HAS_FLASH_ATTENTION
    return _flash_attention(q, k, v, attn_mask=bias.unsqueeze(0))


def total_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Euclidean norm of all tensors together, a scalar on their device, without waiting for it."""
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(tensors))))


def pretend_cuda() -> None:
    """Let autograd take tensors for CUDA's where there is no device, as PyTorch's own fake tensors do."""
    assert _cuda_guard is not None  # asked for by ESTIMATES_MEMORY
    _cuda_guard()


def holders_of_storage(tensor: Tensor) -> int:
    """How many tensors hold a tensor's storage, the one that is looked at included; Python's look at it counts, too."""
    return int(torch._C._storage_Use_Count(tensor.untyped_storage()._cdata))


def watched() -> bool:
    """Whether a mode looks at each operation, such as ``torch.utils.flop_counter``; unknown counts as yes."""
    return _dispatch_modes is None or _dispatch_modes() > 0


def convolution(x: Tensor, weight: Tensor, padding: Sequence[int]) -> Tensor:
    """Convolution without bias by oneDNN, where it is there: PyTorch takes its own, slower one for thin slabs.

    Args:
        x: (B, C_in, *S), 2D or 3D.
        weight: (C_out, C_in, *kernel).
        padding: zeros on both sides, per axis.
    """
    onednn = torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled
    if _onednn_convolution is not None and onednn and x.dtype == torch.float32:
        one = (1,) * len(padding)
        return _onednn_convolution(x, weight, None, padding, one, one, 1)
    return (F.conv3d if len(padding) == 3 else F.conv2d)(x, weight, padding=tuple(padding))

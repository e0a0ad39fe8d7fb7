"""Fused attention of CUDA on pretended tensors; without a driver PyTorch itself would choose unfused products."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nnunet_reca.memory.backends import CUDA, EFFICIENT, FLASH, aten

#: rows of a bias begin at multiples of this many numbers
ALIGNMENT = 8


def fused_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    **more: Any,
) -> Tensor:
    """Arguments and result of ``torch.nn.functional.scaled_dot_product_attention``, by the kernel of its choice.

    The bias is padded to aligned rows and read along the batch with stride 0, but has a gradient for each of its items.
    """
    if torch.is_autocast_enabled("cuda"):
        dtype = torch.get_autocast_dtype("cuda")
        q, k, v = (x.to(dtype) for x in (q, k, v))
        attn_mask = attn_mask if attn_mask is None or attn_mask.dtype == torch.bool else attn_mask.to(dtype)
    choice = CUDA.answers[aten._fused_sdp_choice.default](q, k, v, attn_mask, dropout_p, is_causal)
    if more.get("enable_gqa") or choice not in (FLASH, EFFICIENT):
        return F.scaled_dot_product_attention(q, k, v, attn_mask, dropout_p, is_causal, scale=scale, **more)
    if choice == FLASH:
        width, scale = q.shape[-1], q.shape[-1] ** -0.5 if scale is None else scale
        q, k, v = (F.pad(x, (0, -width % 8)) if width % 8 else x for x in (q, k, v))
        return aten._scaled_dot_product_flash_attention(q, k, v, dropout_p, is_causal, scale=scale)[0][..., :width]
    bias = None if attn_mask is None else _bias(attn_mask, q, k)
    return aten._scaled_dot_product_efficient_attention(q, k, v, bias, True, dropout_p, is_causal, scale=scale)[0]


def _bias(mask: Tensor, q: Tensor, k: Tensor) -> Tensor:
    if mask.dtype == torch.bool:
        mask = torch.where(mask, 0.0, float("-inf")).to(q.dtype)
    columns = mask.shape[-1]
    if any(stride % ALIGNMENT for stride in mask.stride()[:-1]):
        mask = F.pad(mask, (0, ALIGNMENT - columns % ALIGNMENT))[..., :columns]
    return mask.expand(*q.shape[:-1], k.shape[-2])

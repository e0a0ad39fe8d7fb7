"""Rotary position embedding of a token grid, one share of the channels per axis."""

from collections.abc import Sequence

import torch
from timm.layers import apply_rot_embed_cat, build_rotary_pos_embed
from torch import Tensor
from torch.nn import functional as F


def rotary_embedding(grid: Sequence[int], head_dim: int) -> Tensor:
    """Sines and cosines of an axial rotary embedding, (N, 2 head_dim), for :func:`rotate`.

    Each axis turns ``head_dim // (2 axes)`` pairs of channels, by frequencies from 1 down to 1 / 10000; channels that
    are left over are not turned. Sources: RoFormer (Su et al. 2021); EVA-02 (Fang et al. 2023) for the axes.

    Args:
        grid: tokens per axis; N is their product, in row-major order.
        head_dim: channels of a head.

    Raises:
        ValueError: if a head has not a pair of channels for each axis.
    """
    bands = head_dim // (2 * len(grid))
    if bands < 1:
        raise ValueError(
            f"expected heads of at least {2 * len(grid)} channels for {len(grid)} axes, got {head_dim}; use fewer heads"
        )
    sine, cosine = build_rotary_pos_embed(list(grid), dim=4 * bands, in_pixels=False, ref_feat_shape=list(grid))
    left = head_dim - sine.shape[-1]
    return torch.cat([F.pad(sine, (0, left)), F.pad(cosine, (0, left), value=1.0)], dim=-1)


def rotate(x: Tensor, embedding: Tensor) -> Tensor:
    """Turn queries or keys, (B, heads, N, head_dim), by their places, in float32 at least.

    Linear in x, so that a sum of queries may be turned instead of each.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return apply_rot_embed_cat(wide, embedding.to(wide.dtype))

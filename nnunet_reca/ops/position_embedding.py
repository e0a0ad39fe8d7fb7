"""Position embeddings on other token grids than the one they were learned on."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F


def resize_position_embedding(embedding: Tensor, old_grid: Sequence[int], new_grid: Sequence[int]) -> Tensor:
    """Position embedding of a grid of tokens for another grid, bicubic in 2D and trilinear in 3D.

    Args:
        embedding: (1, N, C).
        old_grid: tokens per axis that it has; N is their product.
        new_grid: wanted tokens per axis.

    Returns:
        (1, M, C), M being the product of ``new_grid``.
    """
    cells = embedding.transpose(1, 2).unflatten(2, tuple(old_grid))
    mode = "bicubic" if len(new_grid) == 2 else "trilinear"
    resized = F.interpolate(cells, size=tuple(new_grid), mode=mode, align_corners=False)
    return resized.flatten(2).transpose(1, 2)

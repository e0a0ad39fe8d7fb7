"""Argument checks that several networks share; each raises a ValueError with expected, got and the fix."""

from collections.abc import Sequence

from torch import Tensor


def check_heads(dim: int, num_heads: int) -> None:
    """Heads divide the channels."""
    if num_heads < 1 or dim % num_heads:
        raise ValueError(
            f"expected a number of heads that divides the {dim} channels, got {num_heads}; "
            "change num_heads or the channel width"
        )


def check_leading_stride(strides: Sequence[Sequence[int]]) -> None:
    """The output pyramid begins at full resolution."""
    if any(s != 1 for s in strides[0]):
        raise ValueError(f"expected leading strides of 1 (full resolution), got {list(strides[0])}")


def check_deep_supervision(deep_supervision: bool, auxiliary_heads: bool) -> None:
    """Deep supervision has its heads."""
    if deep_supervision and not auxiliary_heads:
        raise ValueError("deep_supervision=True needs heads at the coarser scales; use auxiliary_heads=True")


def check_sides(x: Tensor, total_stride: Sequence[int]) -> None:
    """The sides of an image, (B, C, *S), are multiples of the total stride."""
    if any(s % t for s, t in zip(x.shape[2:], total_stride, strict=True)):
        raise ValueError(
            f"expected sides that are multiples of {tuple(total_stride)}, got {tuple(x.shape[2:])}; "
            "pad or crop the input"
        )

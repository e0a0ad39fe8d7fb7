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


def check_strides(strides: Sequence[Sequence[int]]) -> None:
    """Every level has a positive stride per axis, and the output pyramid begins at full resolution."""
    wrong = [list(s) for s in strides if len(s) != len(strides[0]) or any(n < 1 for n in s)]
    if wrong:
        raise ValueError(f"expected {len(strides[0])} positive strides on every level, got {wrong[0]}")
    if any(s != 1 for s in strides[0]):
        raise ValueError(f"expected leading strides of 1 (full resolution), got {list(strides[0])}")


def per_axis(size: Sequence[int] | int, dimensions: int) -> list[int]:
    """A size for every axis, from one number or a number per axis."""
    sizes = [size] * dimensions if isinstance(size, int) else list(size)
    if len(sizes) != dimensions:
        raise ValueError(f"expected one number, or one for each of {dimensions} axes, got {sizes}")
    return sizes


def check_sides(x: Tensor, total_stride: Sequence[int]) -> None:
    """The sides of an image, (B, C, *S), are multiples of the total stride."""
    if x.ndim - 2 != len(total_stride):
        raise ValueError(f"expected a batch of {len(total_stride)}D images, (B, C, *S), got shape {tuple(x.shape)}")
    if any(s % t for s, t in zip(x.shape[2:], total_stride, strict=True)):
        raise ValueError(
            f"expected sides that are multiples of {tuple(total_stride)}, got {tuple(x.shape[2:])}; "
            "pad or crop the input"
        )

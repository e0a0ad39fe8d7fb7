"""The MLP of a transformer block, which inference on the CPU applies to a part of the tokens at a time."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nnunet_reca.ops.slabs import infers_on_cpu

#: Bytes of the largest map at a time in inference on the CPU, where large new maps are slow.
PART = 4 << 20
#: Tokens at a time at least, next to which the weights are small.
TOKENS = 512


def add_mlp(x: Tensor, norm: nn.Module, mlp: nn.Module, drop_path: nn.Module | None = None) -> Tensor:
    """x + drop_path(mlp(norm(x))), (B, *spatial, dim) -> (B, *spatial, dim); may overwrite x where no gradient is kept.

    ``x`` must be a map that nobody else reads.
    """
    if infers_on_cpu(x) and not (drop_path is not None and drop_path.training):
        tokens = tokens_of_part(x, mlp.fc1.out_features)  # type: ignore[union-attr,arg-type]
        return add_in_parts(x, lambda part: mlp(norm(part)), tokens)
    branch = mlp(norm(x))
    return x + (branch if drop_path is None else drop_path(branch))


def add_in_parts(x: Tensor, branch: Callable[[Tensor], Tensor], tokens: int) -> Tensor:
    """x + branch(x) in place, for about ``tokens`` tokens of (B, *spatial, dim) at a time; branch sees each alone."""
    for part in x.split(_rows(x, tokens), dim=1):
        part += branch(part)
    return x


def join_parts(x: Tensor, function: Callable[[Tensor], Tensor], channels: int) -> Tensor:
    """``function(x)`` of tokens that do not see each other, (B, *spatial, dim), for a part of them at a time.

    Args:
        x: tokens.
        function: keeps the batch and the spatial axes.
        channels: of its largest map.
    """
    return torch.cat([function(part) for part in x.split(_rows(x, tokens_of_part(x, channels)), dim=1)], dim=1)


def tokens_of_part(x: Tensor, channels: int) -> int:
    """Tokens at a time where the largest map has so many channels."""
    return max(TOKENS, PART // (channels * x.element_size()))


def _rows(x: Tensor, tokens: int) -> int:
    """Rows of the first spatial axis that have about ``tokens`` tokens in all images together, at least one."""
    return max(1, tokens * x.shape[1] // max(1, x.shape[:-1].numel()))

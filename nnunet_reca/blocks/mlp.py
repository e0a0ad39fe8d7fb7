"""The MLP of a transformer block, which inference on the CPU applies to a part of the tokens at a time."""

from collections.abc import Callable

from torch import Tensor, nn

from nnunet_reca.ops.slabs import infers_on_cpu

#: Tokens at a time in inference on the CPU, where large new maps are slow.
TOKENS = 8192


def add_mlp(x: Tensor, norm: nn.Module, mlp: nn.Module, drop_path: nn.Module) -> Tensor:
    """x + drop_path(mlp(norm(x))), (B, *spatial, dim) -> (B, *spatial, dim); may overwrite x where no gradient is kept.

    ``x`` must be a map that nobody else reads.
    """
    if infers_on_cpu(x) and not drop_path.training:
        return add_in_parts(x, lambda part: mlp(norm(part)), TOKENS)
    return x + drop_path(mlp(norm(x)))


def add_in_parts(x: Tensor, branch: Callable[[Tensor], Tensor], tokens: int) -> Tensor:
    """x + branch(x) in place, for about ``tokens`` tokens of (B, *spatial, dim) at a time; branch sees each alone."""
    rows = tokens * x.shape[1] // max(1, x.shape[:-1].numel())
    for part in x.split(max(1, rows), dim=1):
        part += branch(part)
    return x

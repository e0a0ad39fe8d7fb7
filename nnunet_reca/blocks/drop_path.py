"""Stochastic depth: the probability of dropping a residual branch, per block."""

from collections.abc import Sequence


def drop_path_rates(rate: float, depths: Sequence[int]) -> list[list[float]]:
    """Rates that rise linearly from 0 to ``rate`` over all blocks, one list per stage of ``depths`` blocks."""
    blocks = sum(depths)
    rates = iter(rate * block / max(1, blocks - 1) for block in range(blocks))
    return [[next(rates) for _ in range(depth)] for depth in depths]

"""Where the windows of a padded, shifted map lie on the map itself: pieces without padding and without a mask.

A shift cuts windows into regions that do not see each other, and padding fills regions up. Along every axis the tokens
of a region are neighbours on the map, so that all windows fall into few kinds of smaller windows, the pieces: boxes of
the map, cut evenly. Two tokens may attend to each other if and only if they are in the same piece of the same window.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from torch import Tensor

Slices = tuple[slice, ...]


@dataclass(frozen=True)
class Run:
    """Neighbouring tokens of one axis, cut into regions of one size.

    Attributes:
        start: first token, on the map.
        framed_start: first token, on the padded and shifted map.
        count: number of regions.
        tokens: tokens of a region.
        padded: padded tokens that follow them in the region.
        offset: place of a region's first token in its window.
    """

    start: int
    framed_start: int
    count: int
    tokens: int
    padded: int
    offset: int


@dataclass(frozen=True)
class Piece:
    """One run per axis: a box of the map, cut into ``count`` small windows of ``tokens`` per axis."""

    runs: tuple[Run, ...]

    @property
    def tokens(self) -> tuple[int, ...]:
        """Size of a small window."""
        return tuple(r.tokens for r in self.runs)

    @property
    def has_padding(self) -> bool:
        return any(r.padded for r in self.runs)

    @property
    def on_map(self) -> Slices:
        """The box on the map, (B, *spatial, C)."""
        return slice(None), *(slice(r.start, r.start + r.count * r.tokens) for r in self.runs)

    @property
    def on_frame(self) -> Slices:
        """The box on the padded and shifted map, (B, *padded, C)."""
        return slice(None), *(slice(r.framed_start, r.framed_start + r.count * r.tokens) for r in self.runs)

    @property
    def in_window(self) -> Slices:
        """The tokens in their window, (*window)."""
        return tuple(slice(r.offset, r.offset + r.tokens) for r in self.runs)

    @property
    def region_in_window(self) -> Slices:
        """The tokens and the padding that they see, in their window."""
        return tuple(slice(r.offset, r.offset + r.tokens + r.padded) for r in self.runs)

    def first_tokens(self, regions: Tensor) -> Tensor:
        """View of the tokens in (..., *(tokens + padded)), (..., *tokens)."""
        for axis, tokens in enumerate(self.tokens, regions.ndim - len(self.runs)):
            regions = regions.narrow(axis, 0, tokens)
        return regions


def axis_runs(size: int, window: int, shift: int) -> list[Run]:
    """Runs of one axis of ``size`` tokens; together they hold each token once."""
    padded = size + -size % window
    cuts = sorted({*range(0, padded + 1, window), padded - shift})
    runs: list[Run] = []
    for first, last in itertools.pairwise(cuts):
        start = (first + shift) % padded
        tokens = min(last - first, size - start)
        if tokens <= 0:
            continue
        if tokens == window and runs and runs[-1].tokens == window:
            full = runs.pop()
            runs.append(Run(full.start, full.framed_start, full.count + 1, window, 0, 0))
        else:
            runs.append(Run(start, first, 1, tokens, last - first - tokens, first % window))
    return runs


@lru_cache(maxsize=256)
def window_pieces(spatial: Sequence[int], window: Sequence[int], shift: Sequence[int]) -> tuple[Piece, ...]:
    """Pieces of a map, which together hold each of its tokens once.

    Args:
        spatial: size of the map, without padding.
        window: window size; the map is padded at its end to a multiple of it.
        shift: roll of the padded map towards the origin, less than the window.
    """
    axes = [axis_runs(s, w, d) for s, w, d in zip(spatial, window, shift, strict=True)]
    return tuple(Piece(runs) for runs in itertools.product(*axes))

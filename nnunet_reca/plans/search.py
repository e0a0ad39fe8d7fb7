"""Searches that ask for few estimates: the largest of ascending sizes whose memory is within a target."""

from bisect import bisect_right
from collections.abc import Callable, Sequence

#: Guesses by linear growth before the search halves what is left.
INTERPOLATIONS = 4


def largest_fitting(
    sizes: Sequence[int], memory: Callable[[int], int], target: int, *, first: Sequence[int]
) -> int | None:
    """Index of a size that fits while the next one does not; None where the smallest does not.

    Memory grows with size, nearly linearly: two estimates tell where to look. Where it does not grow everywhere, the
    size that is returned fits all the same.

    Args:
        sizes: ascending.
        memory: of the size with an index, such as bytes; asked once for each.
        target: most that fits.
        first: indices to begin with.
    """
    known: dict[int, int] = {}
    fits, too_large = -1, len(sizes)
    begin = iter(first)
    while too_large - fits > 1:
        guess = next(begin, None)
        if guess is None:
            guess = _guess(sizes, known, fits, too_large, target, halve=len(known) >= len(first) + INTERPOLATIONS)
        guess = min(max(guess, fits + 1), too_large - 1)
        known[guess] = memory(guess)
        if known[guess] <= target:
            fits = guess
        else:
            too_large = guess
    return None if fits < 0 else fits


def _guess(sizes: Sequence[int], known: dict[int, int], fits: int, too_large: int, target: int, *, halve: bool) -> int:
    """Index of the largest size within the target if memory grew linearly between the two nearest estimates."""
    near = sorted(known, key=lambda index: (index not in (fits, too_large), abs(index - fits)))[:2]
    if halve or len(near) < 2 or known[near[0]] == known[near[1]]:
        return (fits + too_large) // 2
    a, b = near
    size = sizes[a] + (target - known[a]) * (sizes[b] - sizes[a]) / (known[b] - known[a])
    return bisect_right(sizes, size) - 1

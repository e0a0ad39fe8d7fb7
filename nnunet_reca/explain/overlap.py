"""How much predictions agree: Dice per object, for every cut."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Regions = Mapping[str, Sequence[int]]
Overlaps = dict[str, float | None]


@dataclass(frozen=True)
class Cut:
    """What becomes of the prediction when chains lose a part.

    Attributes:
        part: what they lose, a key of :data:`nnunet_reca.explain.chains.CUTS`.
        chain: name of the chain, or ``all``.
        to_full: Dice to the prediction of the whole model, per object; None where neither has the object.
        to_reference: Dice to the reference segmentation, None without one.
        gain: ``to_reference`` less the Dice of the whole model's prediction to the reference.
    """

    part: str
    chain: str
    to_full: Overlaps
    to_reference: Overlaps | None = None
    gain: Overlaps | None = None

    @property
    def name(self) -> str:
        """Such as ``carry of stage 1``; each cut of a report has its own."""
        return f"{self.part} of {self.chain}"


def dice(first: np.ndarray, second: np.ndarray) -> float | None:
    """Twice the overlap over the sum of two masks, None where both are empty."""
    total = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / total if total else None


def dice_per_region(first: np.ndarray, second: np.ndarray, regions: Regions) -> Overlaps:
    """Dice of two label maps, for every object."""
    return {name: dice(np.isin(first, labels), np.isin(second, labels)) for name, labels in regions.items()}


def compare_cut(
    part: str,
    chain: str,
    labels: np.ndarray,
    full: np.ndarray,
    reference: np.ndarray | None,
    regions: Regions,
    ignored: int | None,
) -> Cut:
    """Compare the prediction with a cut to that of the whole model, and both to the reference.

    Args:
        part: what is cut.
        chain: where.
        labels: prediction with the cut.
        full: prediction of the whole model.
        reference: reference segmentation, or None.
        regions: labels of each object.
        ignored: label of the reference whose voxels do not count.
    """
    to_full = dice_per_region(labels, full, regions)
    if reference is None:
        return Cut(part, chain, to_full)
    counts = reference != ignored if ignored is not None else np.ones_like(reference, dtype=bool)
    to_reference, before = (dice_per_region(x[counts], reference[counts], regions) for x in (labels, full))
    gain = {n: None if a is None or (b := before[n]) is None else a - b for n, a in to_reference.items()}
    return Cut(part, chain, to_full, to_reference, gain)

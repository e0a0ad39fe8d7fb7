"""Labels and regions of a data set by name, read as nnU-Net's label manager reads them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: a label's value, or the values of a region
Region = int | tuple[int, ...]


@dataclass(frozen=True)
class Labels:
    """What a model tells apart.

    Attributes:
        regions: label or region by name, in nnU-Net's order, without background and ignore label. Where the data set
            has regions, a label in a list stays a region of one.
        ignore: value of the ignore label, None without one.
    """

    regions: Mapping[str, Region]
    ignore: int | None


def read_labels(manager: Any) -> Labels:
    """Names, values and ignore label of nnU-Net's label manager.

    A data set's labels may be numbers, text (``"1"``) or lists of one: all are the same label to nnU-Net.

    Args:
        manager: as of ``PlansManager.get_label_manager(dataset_json)`` or ``nnUNetPredictor.label_manager``.
    """
    wanted = manager.foreground_regions if manager.has_regions else manager.foreground_labels
    names: dict[Region, str] = {}
    for name, value in manager.label_dict.items():
        region = _region(value)
        if isinstance(region, tuple) and not manager.has_regions:
            (region,) = region
        names.setdefault(region, name)
    regions = {names[_region(value)]: _region(value) for value in wanted}
    return Labels(regions, None if manager.ignore_label is None else int(manager.ignore_label))


def values_of(region: Region) -> tuple[int, ...]:
    """Values of a label or a region."""
    return (region,) if isinstance(region, int) else region


def _region(value: Any) -> Region:
    return tuple(int(v) for v in value) if isinstance(value, (list, tuple)) else int(value)

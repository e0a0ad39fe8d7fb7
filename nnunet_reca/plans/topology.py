"""Strides and kernel sizes of a plan's configuration, in whatever format nnU-Net has written it."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

#: Smallest side of a bottleneck, as nnU-Net's planners have it.
SMALLEST_MAP = 4


def planned_topology(configuration: Mapping[str, Any], *, name: str) -> tuple[Any, Any]:
    """Strides and kernel sizes of a resolved configuration.

    They stand in ``architecture/arch_kwargs``. Plans from before nnU-Net 2.5 have no ``architecture``: nnU-Net's own
    :class:`ConfigurationManager` reads them. Networks without strides (Primus, and plans of fine-tuning that only name
    their network) get those that nnU-Net's planners choose for this patch size and spacing.

    Args:
        configuration: with a ``patch_size``.
        name: of the configuration, for messages.

    Raises:
        ValueError: if nnU-Net cannot read the configuration either.
    """
    architecture = configuration.get("architecture")
    if architecture is None:
        architecture = _read_by_nnunet(configuration, name)
    arguments = architecture.get("arch_kwargs") or {}
    if "strides" in arguments:
        return arguments["strides"], arguments.get("kernel_sizes") or 3
    return _as_planners_choose(configuration)


def _read_by_nnunet(configuration: Mapping[str, Any], name: str) -> dict[str, Any]:
    from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager

    try:
        return ConfigurationManager(copy.deepcopy(dict(configuration))).configuration["architecture"]
    except (KeyError, RuntimeError) as error:  # a key of the old format is missing, or it names a foreign network
        raise ValueError(
            f"expected {name} to have an architecture, or what nnU-Net before 2.5 wrote instead, got "
            f"{sorted(configuration)}, in which nnU-Net misses {error}; plan with nnUNetv2_plan_experiment"
        ) from error


def _as_planners_choose(configuration: Mapping[str, Any]) -> tuple[Any, Any]:
    from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props

    patch_size = configuration["patch_size"]
    spacing = configuration.get("spacing") or [1.0] * len(patch_size)
    _, strides, kernel_sizes, _, _ = get_pool_and_conv_props(spacing, patch_size, SMALLEST_MAP, 999999)
    fitting = _without_padding(patch_size, strides)
    return fitting, kernel_sizes[: len(fitting)]


def _without_padding(patch_size: Sequence[int], strides: Sequence[Sequence[int]]) -> list[list[int]]:
    """Strides for the patch as it is, which planners would pad: an axis stops where its side is no longer divisible."""
    left, stopped, fitting = [int(side) for side in patch_size], [False] * len(patch_size), []
    for stride in strides:
        stopped = [end or side % s > 0 for end, side, s in zip(stopped, left, stride, strict=True)]
        fitting.append([1 if end else int(s) for end, s in zip(stopped, stride, strict=True)])
        left = [side // s for side, s in zip(left, fitting[-1], strict=True)]
    while len(fitting) > 1 and all(s == 1 for s in fitting[-1]):
        fitting.pop()
    return fitting

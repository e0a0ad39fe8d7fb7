"""Rewrite a plan so that nnU-Net itself builds our network from it."""

import copy
from collections.abc import Mapping
from typing import Any

from nnunet_reca.plans.geometry import Geometry
from nnunet_reca.plans.networks import NETWORKS


def rewrite_plan(
    plans: Mapping[str, Any],
    configuration: str,
    *,
    network: str,
    size: str,
    carry: str,
    **arguments: Any,
) -> dict[str, Any]:
    """Copy of an nnU-Net plan whose configuration names our network and its arguments.

    Only ``configurations[configuration]`` changes: ``architecture`` names our network, ``planned_architecture`` keeps
    what nnU-Net planned, null where its format (before 2.5) names no architecture, whose keys stay beside. A plan that
    was rewritten before starts from there again.

    Args:
        plans: content of a plans file.
        configuration: such as ``3d_fullres``; may inherit from another one.
        network: key of :data:`NETWORKS`.
        size: of the network, such as ``base`` or ``tiny``.
        carry: what its attention layers hand on: "sum" as published, "none" for the self-attention twin, or another of
            :mod:`nnunet_reca.blocks.carry`.
        arguments: more of the network's own, such as ``use_checkpoint``.

    Raises:
        ValueError: if the configuration does not exist or does not suit the network.
    """
    kind = NETWORKS[network]
    resolved = _resolve(_as_planned(plans["configurations"]), configuration)
    geometry = Geometry.from_configuration(resolved, name=configuration)
    kwargs = kind.plan_arguments(kind.fitted(geometry, configuration), kind.sizes[size])
    kwargs |= {"carry": carry, **arguments}
    rewritten = copy.deepcopy(dict(plans))
    rewritten["configurations"][configuration] |= {
        "architecture": {"network_class_name": kind.class_path, "arch_kwargs": kwargs, "_kw_requires_import": []},
        "planned_architecture": copy.deepcopy(resolved.get("architecture")),
    }
    return rewritten


def _as_planned(configurations: Mapping[str, Any]) -> dict[str, Any]:
    """The configurations before any of them was rewritten."""
    planned = {name: dict(configuration) for name, configuration in configurations.items()}
    for configuration in planned.values():
        if "planned_architecture" in configuration:
            architecture = configuration.pop("planned_architecture")
            configuration.pop("architecture", None)
            configuration |= {} if architecture is None else {"architecture": architecture}
    return planned


def _resolve(configurations: Mapping[str, Any], name: str, *, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """A configuration with what it inherits, as nnU-Net resolves it."""
    if name not in configurations:
        raise ValueError(
            f"expected a configuration of the plan, {sorted(configurations)}, got {name!r}; choose one of them, or "
            "plan again if nnU-Net left it out (3d_lowres and the cascade exist only for large images)"
        )
    if name in seen:
        raise ValueError(f"expected configurations that inherit without a circle, got {' -> '.join((*seen, name))}")
    own = configurations[name]
    inherited = _resolve(configurations, own["inherits_from"], seen=(*seen, name)) if own.get("inherits_from") else {}
    return {**inherited, **own}

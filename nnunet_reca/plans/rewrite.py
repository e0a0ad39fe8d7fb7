"""Rewrite a plan so that nnU-Net itself builds our network from it."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

from nnunet_reca.plans.geometry import Geometry, window_size
from nnunet_reca.plans.presets import PRESETS


def swin_unetr_arguments(geometry: Geometry, preset: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Arguments of :class:`nnunet_reca.architectures.SwinUNETR` for a plan's geometry.

    Stage i works at level i and merges by s_{i+1}; five poolings are the published depth, deeper plans stop there and
    shallower ones have fewer stages.

    Raises:
        ValueError: for plans with fewer than two poolings or a bottleneck of one voxel.
    """
    geometry = geometry.cut(len(preset["depths"]) + 1)
    stages = geometry.poolings - 1
    if stages < 1:
        raise ValueError(
            f"expected {name} to have at least two poolings for SwinUNETR, got {geometry.poolings} for patch size "
            f"{list(geometry.patch_size)}; plan a larger patch, or use nnU-Net's own trainer for this data set"
        )
    maps = geometry.map_sizes()
    if max(maps[-1]) < 2:
        raise ValueError(
            f"expected {name} to leave more than one voxel at the bottleneck, got {list(maps[-1])} for patch size "
            f"{list(geometry.patch_size)}; plan a larger patch or drop the last stride"
        )
    return {
        "strides": [list(s) for s in geometry.strides],
        "feature_size": preset["feature_size"],
        "depths": preset["depths"][:stages],
        "num_heads": preset["num_heads"][:stages],
        "window_sizes": [window_size(size) for size in maps[1:-1]],
        "kernel_sizes": [list(k) for k in geometry.kernel_sizes],
    }


#: network -> (class, arguments from the plan)
NETWORKS: dict[str, tuple[str, Callable[[Geometry, Mapping[str, Any], str], dict[str, Any]]]] = {
    "SwinUNETR": ("nnunet_reca.architectures.swin_unetr.SwinUNETR", swin_unetr_arguments),
}


def rewrite_plan(
    plans: Mapping[str, Any], configuration: str, *, network: str, size: str, recurrent: bool
) -> dict[str, Any]:
    """Copy of an nnU-Net plan whose configuration names our network and its arguments.

    Only ``configurations[configuration]`` changes: ``architecture`` names our network, ``planned_architecture`` keeps
    what nnU-Net planned; a plan that was rewritten before starts from there again.

    Args:
        plans: content of a plans file.
        configuration: such as ``3d_fullres``; may inherit from another one.
        network: key of :data:`NETWORKS`.
        size: of the network, such as ``base`` or ``tiny``.
        recurrent: Recurrent-Attention, or its self-attention twin.

    Raises:
        ValueError: if the configuration does not exist or does not suit the network.
    """
    class_path, arguments = NETWORKS[network]
    resolved = _resolve(plans["configurations"], configuration)
    planned = resolved.get("planned_architecture", resolved.get("architecture", {}))
    geometry = Geometry.from_configuration({**resolved, "architecture": planned}, name=configuration)
    kwargs = {**arguments(geometry, PRESETS[network, size], configuration), "recurrent": recurrent}
    rewritten = copy.deepcopy(dict(plans))
    rewritten["configurations"][configuration] |= {
        "architecture": {"network_class_name": class_path, "arch_kwargs": kwargs, "_kw_requires_import": []},
        "planned_architecture": planned,
    }
    return copy.deepcopy(rewritten)


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
    if "architecture" in own:
        inherited.pop("planned_architecture", None)
    return {**inherited, **own}

"""Preprocessed data that several plans share: what they are made by is equal."""

from collections.abc import Mapping
from typing import Any

#: what preprocessing reads of a configuration, and of plans
OF_CONFIGURATION = (
    "preprocessor_name",
    "spacing",
    "normalization_schemes",
    "use_mask_for_norm",
    "resampling_fn_data",
    "resampling_fn_data_kwargs",
    "resampling_fn_seg",
    "resampling_fn_seg_kwargs",
)
OF_PLANS = ("transpose_forward", "image_reader_writer", "foreground_intensity_properties_per_channel")


def share_data(plans: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]) -> None:
    """Name the folders of a plan's preprocessed data: those of the first plans that make the same, else its own.

    Args:
        plans: whose ``data_identifier`` are set.
        others: plans of the data set by name, in the order in which to ask them.
    """
    for name, configuration in plans["configurations"].items():
        if "inherits_from" in configuration:
            continue
        found = (shared_data(plans, name, other) for other in others.values())
        configuration["data_identifier"] = next(filter(None, found), f"{plans['plans_name']}_{name}")


def shared_data(plans: Mapping[str, Any], name: str, other: Mapping[str, Any]) -> str | None:
    """Folder of the other plans' data of a configuration, None where its content would be another."""
    theirs, ours = other["configurations"].get(name, {}), plans["configurations"][name]
    equal = all(theirs.get(key) == ours.get(key) for key in OF_CONFIGURATION)
    return theirs.get("data_identifier") if equal and all(other.get(k) == plans.get(k) for k in OF_PLANS) else None

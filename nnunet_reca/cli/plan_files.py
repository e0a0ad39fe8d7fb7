"""Files of ``nnUNetv2_reca_plan``: the data set it reads, the plans it writes, and what is missing afterwards."""

import inspect
import json
import os
from collections.abc import Mapping
from typing import Any

from nnunet_reca.cli.planned import one_data_set
from nnunet_reca.plans.sharing import shared_data
from nnunet_reca.plans.wishes import CASCADE, STAGES, Plans
from nnunet_reca.study import nnunet

#: of what plans were made for, in the plans file
RECORD = "planned_for"
STOCK_CONFIGURATIONS = ("2d", *STAGES, CASCADE)


def data_set(dataset: str) -> tuple[str, dict[str, Any]]:
    """Full name and dataset.json of a data set with a fingerprint.

    Raises:
        ValueError: if it is not there, or has none.
    """
    for variable in nnunet.FOLDERS[:2]:
        if not os.path.isdir(os.environ.get(variable) or ""):
            raise ValueError(f"expected {variable} to be a folder, got {os.environ.get(variable)!r}; export it")
    name = one_data_set(dataset)
    content = nnunet.content(nnunet.raw(name) / "dataset.json")
    if not isinstance(content, dict):
        raise ValueError(f"expected {nnunet.raw(name) / 'dataset.json'}, which does not exist or cannot be read")
    if nnunet.content(nnunet.preprocessed(name) / "dataset_fingerprint.json") is None:
        raise ValueError(
            f"expected a fingerprint of {name}, got none in {nnunet.preprocessed(name)}; run "
            f"nnUNetv2_extract_fingerprint -d {number(name)}"
        )
    return name, content


def number(dataset: str) -> int:
    """Number of a data set, which nnU-Net's commands want."""
    return int(dataset.removeprefix("Dataset")[:3])


def plans_there(dataset: str) -> list[str]:
    """Names of the plans of a data set."""
    files = sorted(nnunet.preprocessed(dataset).glob("*.json"))
    return [file.stem for file in files if nnunet.plans_content(dataset, file.stem) is not None]


def default_plans(planner: type) -> str:
    """Name of the plans that a planner makes by itself."""
    return str(inspect.signature(planner).parameters["plans_name"].default)


def others(dataset: str, planner: type, name: str) -> dict[str, Mapping[str, Any]]:
    """Other plans of a data set in the order in which to share their data: the planner's own, nnU-Net's, others."""
    first = (default_plans(planner), "nnUNetPlans")
    there = sorted(plans_there(dataset), key=lambda other: [other != stock for stock in first])
    return {other: nnunet.plans_content(dataset, other) or {} for other in there if other != name}


def write_plans(dataset: str, plans: Plans, *, overwrite: bool) -> str:
    """Write plans beside nnU-Net's; as nnU-Net does, configurations of somebody's own are kept.

    Returns:
        What was done.

    Raises:
        ValueError: if other plans have the name already.
    """
    file = nnunet.preprocessed(dataset) / f"{plans['plans_name']}.json"
    before = nnunet.plans_content(dataset, plans["plans_name"]) or {}
    own = {k: v for k, v in before.get("configurations", {}).items() if k not in STOCK_CONFIGURATIONS}
    plans = {**plans, "configurations": {**plans["configurations"], **own}}
    if {**before, RECORD: None} == {**plans, RECORD: None}:
        return f"unchanged: {file}"
    if file.exists() and not overwrite:
        raise ValueError(
            f"expected no other plans of this name, got {file}, whose content differs; say --overwrite, or "
            "-overwrite_plans_name OTHER"
        )
    said = "overwritten" if file.exists() else "written"
    nnunet.write_whole(file, json.dumps(plans, indent=4) + "\n")
    return f"{said}: {file}"


def unprocessed(dataset: str, plans: Plans, before: Plans | None) -> list[str]:
    """Configurations whose preprocessed data are not there yet.

    Args:
        dataset: full name.
        plans: as they are now.
        before: plans of the same name that were there; their data may be others.
    """

    def there(configuration: str, data: str) -> bool:
        own = data == f"{plans['plans_name']}_{configuration}"
        same = before is not None and shared_data(plans, configuration, before) == data
        return (same or not own) and any(folder.glob(f"{data}/*.pkl"))

    named = {c: made["data_identifier"] for c, made in plans["configurations"].items() if "data_identifier" in made}
    folder = nnunet.preprocessed(dataset)
    return [configuration for configuration, data in named.items() if not there(configuration, data)]

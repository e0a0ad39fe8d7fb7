"""Plans of a data set, for commands that take ``-d`` and ``-p``."""

import json
import os
from pathlib import Path
from typing import Any


def read_plan(dataset: str, plans: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Content of a plans file and of ``dataset.json``, from the data set's preprocessed folder.

    Args:
        dataset: name or number of a data set.
        plans: name of the plans, such as ``nnUNetPlans``.

    Raises:
        ValueError: if there is no such data set, or a file of it is missing or holds no plans.
    """
    from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name

    base = os.environ.get("nnUNet_preprocessed")
    if not base:
        raise ValueError("nnUNet_preprocessed is not set; export nnUNet_preprocessed=/path/to/nnUNet_preprocessed")
    try:
        name = maybe_convert_to_dataset_name(int(dataset) if dataset.isdecimal() else dataset)
    except RuntimeError as error:
        raise ValueError(str(error).splitlines()[0]) from error
    folder = Path(base) / name
    files = folder / f"{plans}.json", folder / "dataset.json"
    for file in files:
        if not file.is_file():
            raise ValueError(f"expected {file}, which does not exist; run nnUNetv2_plan_and_preprocess -d {dataset}")
    first, second = (json.loads(file.read_text(encoding="utf-8")) for file in files)
    if "configurations" not in first:
        raise ValueError(f"expected plans, got {files[0]}, which has no configurations; choose another for -p")
    return first, second

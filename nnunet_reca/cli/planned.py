"""The data set and the plans that are meant, for commands that take ``-d`` and ``-p``."""

import json
import os
from typing import Any

from nnunet_reca.study import nnunet


def one_data_set(dataset: str) -> str:
    """Full name of the data set that is meant by a name or number.

    Raises:
        ValueError: if it is in none of nnU-Net's folders, or there are several of the number.
    """
    found = nnunet.candidates(dataset)
    if len(found) != 1:
        has = f"which {' and '.join(found)} have" if found else "which is in none of nnU-Net's folders"
        raise ValueError(f"expected the name or number of one data set, got {dataset!r}, {has}")
    return found[0]


def read_plan(dataset: str, plans: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Content of a plans file and of ``dataset.json``, from the data set's preprocessed folder.

    Args:
        dataset: name or number of a data set.
        plans: name of the plans, such as ``nnUNetPlans``.

    Raises:
        ValueError: if there is no such data set, or a file of it is missing or holds no plans.
    """
    if not os.environ.get("nnUNet_preprocessed"):
        raise ValueError("nnUNet_preprocessed is not set; export nnUNet_preprocessed=/path/to/nnUNet_preprocessed")
    folder = nnunet.preprocessed(one_data_set(dataset))
    files = folder / f"{plans}.json", folder / "dataset.json"
    for file in files:
        if not file.is_file():
            raise ValueError(f"expected {file}, which does not exist; run nnUNetv2_plan_and_preprocess -d {dataset}")
    first, second = (json.loads(file.read_text(encoding="utf-8")) for file in files)
    if "configurations" not in first:
        raise ValueError(f"expected plans, got {files[0]}, which has no configurations; choose another for -p")
    return first, second

"""nnU-Net's folders: where things lie, and what of them is complete."""

import json
import os
import zipfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from nnunet_reca.results.files import name_in_path, read_json

FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
FINAL, CHECKPOINTS = "checkpoint_final.pth", ("checkpoint_final.pth", "checkpoint_latest.pth", "checkpoint_best.pth")
OWN = ".reca_study"


def raw(dataset: str) -> Path:
    return _folder("nnUNet_raw") / dataset


def preprocessed(dataset: str) -> Path:
    return _folder("nnUNet_preprocessed") / dataset


def results(dataset: str) -> Path:
    return _folder("nnUNet_results") / dataset


def full_name(dataset: str) -> str:
    """Full name of a data set, which may be given by its number; what is in no folder, or twice, stays as it is."""
    found = candidates(dataset)
    return found[0] if len(found) == 1 else dataset


def candidates(dataset: str) -> list[str]:
    """Names of data sets in nnU-Net's folders that are meant by a name or a number."""
    numbered = f"Dataset{int(dataset):03d}_" if dataset.isdecimal() else ""
    found = set()
    for folder in map(_folder, FOLDERS):
        if folder.is_dir():
            names = (entry.name for entry in folder.iterdir())
            found |= {n for n in names if (n.startswith(numbered) if numbered else n == dataset)}
    return sorted(found)


def _folder(variable: str) -> Path:
    return Path(os.environ.get(variable) or os.devnull)


def content(file: Path) -> Any:
    """Content of a JSON file, None where it is not there or only half written."""
    try:
        return _read(str(file), _signature(file))
    except (OSError, ValueError):
        return None


def _signature(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=256)
def _read(file: str, signature: tuple[int, int]) -> Any:
    return read_json(Path(file))


def plans_content(dataset: str, plans: str) -> dict[str, Any] | None:
    """Plans, None where there are none yet."""
    found = content(preprocessed(dataset) / f"{plans}.json")
    return found if isinstance(found, dict) and isinstance(found.get("configurations"), dict) else None


def splits(dataset: str) -> list[Mapping[str, list[str]]]:
    """The split of the cross-validation, empty where there is none yet."""
    return content(preprocessed(dataset) / "splits_final.json") or []


def dataset_json(dataset: str) -> dict[str, Any]:
    """dataset.json of the raw data, else of the preprocessed; empty where there is none."""
    return content(raw(dataset) / "dataset.json") or content(preprocessed(dataset) / "dataset.json") or {}


def scans(dataset: str, part: str) -> list[str]:
    """Names of the files of a part of the raw data, such as imagesTs."""
    ending = dataset_json(dataset).get("file_ending", "")
    folder = raw(dataset) / part
    if not ending or not folder.is_dir():
        return []
    return sorted(file.name for file in folder.iterdir() if file.name.endswith(ending) and file.name[0] != ".")


def cases(dataset: str) -> list[str]:
    """Training cases of the raw data; empty where they are not at hand."""
    listed = dataset_json(dataset).get("dataset")
    if listed:
        return sorted(listed)
    ending = dataset_json(dataset).get("file_ending", "")
    return sorted({name.removesuffix(ending)[:-5] for name in scans(dataset, "imagesTr")})


def resolved(plans: Mapping[str, Any], configuration: str) -> dict[str, Any]:
    """A configuration with what it inherits."""
    own = dict(plans["configurations"].get(configuration, {}))
    parent = own.get("inherits_from")
    return {**(resolved(plans, parent) if parent and parent != configuration else {}), **own}


def stored_cases(dataset: str, plans: str, configuration: str) -> set[str]:
    """Preprocessed cases; a case's properties are written last."""
    identifier = data_identifier(dataset, plans, configuration)
    folder = preprocessed(dataset) / str(identifier)
    return {file.stem for file in folder.glob("*.pkl")} if identifier and folder.is_dir() else set()


def data_identifier(dataset: str, plans: str, configuration: str) -> str | None:
    """Folder of a configuration's preprocessed data, which several may share; None where there are no plans yet."""
    found = plans_content(dataset, plans)
    return resolved(found, configuration).get("data_identifier") if found else None


def whole_checkpoint(file: Path) -> bool:
    """Whether a checkpoint was written to its end, where a zip file has its table."""
    return file.is_file() and zipfile.is_zipfile(file)


def validated_cases(fold: Path, ending: str) -> list[str] | None:
    """Cases of a fold's validation, None where it did not end.

    Args:
        ending: of the segmentations.
    """
    summary = content(fold / "validation" / "summary.json")
    try:
        return [name_in_path(entry["prediction_file"]).removesuffix(ending) for entry in summary["metric_per_case"]]
    except (TypeError, KeyError, AttributeError):
        return None


def write_whole(file: Path, text: str) -> None:
    """Write a file beside its place and move it there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, file)


def write_record(file: Path, entries: Any) -> None:
    """Write JSON, whole or not at all."""
    write_whole(file, json.dumps(entries, indent=1) + "\n")

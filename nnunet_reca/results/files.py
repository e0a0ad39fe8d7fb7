"""Names and JSON files of a trained model's folder."""

import json
import ntpath
from pathlib import Path
from typing import Any, NamedTuple

#: between the parts of a model's name; plans may hold it as well (``ptPlans__NAME``), trainers and configurations not
SEPARATOR = "__"


class ModelName(NamedTuple):
    """What a model's folder is named after; its text is the folder's name. The parts are kept, never read off it."""

    trainer: str
    plans: str
    configuration: str

    def __str__(self) -> str:
        return SEPARATOR.join(self)


def read_json(file: Path) -> Any:
    """Content of a JSON file.

    Raises:
        OSError, ValueError: if it cannot be read.
    """
    return json.loads(file.read_text(encoding="utf-8"))


def name_in_path(path: str) -> str:
    """A file's name in a path that any system may have written: with slashes, backslashes, drives or shares."""
    return ntpath.basename(path)

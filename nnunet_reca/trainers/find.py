"""nnU-Net's own look-up of trainers, for commands of this package."""

import contextlib
import io
from typing import Any


def find_trainer(name: str) -> Any:
    """The class that nnU-Net finds for a trainer's name, without what its look-up prints on the way.

    Raises:
        RuntimeError: if nnU-Net finds none.
        Exception: whatever a file on the way raises when it is imported.
    """
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    with contextlib.redirect_stdout(io.StringIO()):
        return recursive_find_trainer_class_by_name(name)

"""Whether folders can be read and written, found out by doing it."""

import os
import tempfile


def obstacle(folder: str, write: bool = True) -> str:
    """What keeps this process from reading a folder, or from writing into it; empty if nothing."""
    try:
        os.listdir(folder)
        if write:
            with tempfile.TemporaryFile(dir=folder):
                pass
    except OSError as error:
        return error.strerror or str(error)
    return ""


def nearest(folder: str) -> str:
    """The innermost folder on the way to this one that exists."""
    folder = os.path.abspath(folder)
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    return folder

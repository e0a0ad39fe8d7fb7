"""How the stock nnU-Net commands find the trainers: a shim directory, appended to ``nnUNet_extTrainer`` at start-up.

Installation puts ``nnunet_reca.pth`` (``nnunet_reca.start`` from Python 3.15 on) into site-packages; it calls
:func:`register`. nnU-Net then imports the one module of the shim directory, which re-exports the trainers from the
installed package.

nnU-Net reads the variable at each look-up, from ``nnunetv2.paths.nnUNet_extTrainer.get()``. A program that assigns
the variable would thereby lose the trainers: once ``nnunetv2.paths`` is imported, that reading adds what is missing.
"""

import os
import sys

TYPE_CHECKING = False  # as type checkers take it; every start of Python would pay for importing typing
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

#: Set to anything but 0 or nothing, it keeps the start-up hook from touching the environment.
OPT_OUT_VARIABLE = "NNUNET_RECA_NO_DISCOVERY"
VARIABLE = "nnUNet_extTrainer"
#: module in which nnU-Net reads the variable
PATHS = "nnunetv2.paths"


def shim_directory() -> str:
    """The directory for ``export nnUNet_extTrainer=...`` where the start-up hook does not run."""
    return _beside("shim")


def last_directory() -> str:
    """The directory that is searched last: its module explains why a name that resembles ours was not found."""
    return _beside("last")


def opted_out() -> bool:
    """Whether the user wants to be left alone."""
    return os.environ.get(OPT_OUT_VARIABLE, "0") not in ("", "0")


def register() -> None:
    """Append the shim directory to ``nnUNet_extTrainer``, after the user's own entries, unless opted out.

    Later assignments to the variable in this process do not take it away again.
    """
    if opted_out():
        return
    entries = entries_of(os.environ.get(VARIABLE))
    if shim_directory() not in entries:
        os.environ[VARIABLE] = os.pathsep.join(with_shim(entries))
    if PATHS in sys.modules:
        _amend(sys.modules[PATHS])
    elif not any(isinstance(finder, _Watch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watch())


def entries_of(value: str | None) -> list[str]:
    """Directories that a value of the variable names."""
    return [entry for entry in (value or "").split(os.pathsep) if entry.strip()]


def with_shim(entries: list[str]) -> list[str]:
    """The directories, with the shim directory after them unless it is among them."""
    return entries if shim_directory() in entries else [*entries, shim_directory()]


def searched() -> list[str]:
    """Directories that nnU-Net's look-up goes through, in its order."""
    read = getattr(getattr(sys.modules.get(PATHS), VARIABLE, None), "get", None)
    return entries_of(read() if callable(read) else os.environ.get(VARIABLE))


def _amend(paths: "ModuleType") -> None:
    """Let nnU-Net's reading of the variable include our directories; nothing where a version reads it otherwise."""
    variable = getattr(paths, VARIABLE, None)
    read = getattr(variable, "get", None)
    if not callable(read) or "get" in getattr(variable, "__dict__", {"get": None}):
        return

    def get() -> str | None:
        value = read()
        return value if opted_out() else os.pathsep.join([*with_shim(entries_of(value)), last_directory()])

    setattr(variable, "get", get)  # noqa: B010  an attribute that the type does not declare


class _Watch:
    """Import hook that amends ``nnunetv2.paths`` when it is imported, and is gone then. It imports nothing itself."""

    def find_spec(self, name: str, path: "Any" = None, target: "ModuleType | None" = None) -> "ModuleSpec | None":
        if name != PATHS:
            return None
        others = (finder for finder in list(sys.meta_path) if finder is not self and hasattr(finder, "find_spec"))
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)), None)
        execute = getattr(spec and spec.loader, "exec_module", None)
        if spec is not None and execute is not None and hasattr(spec.loader, "__dict__"):

            def exec_module(module: "ModuleType") -> None:
                execute(module)
                _amend(module)
                if self in sys.meta_path:
                    sys.meta_path.remove(self)

            setattr(spec.loader, "exec_module", exec_module)  # noqa: B010  of this one loader
        return spec


def _beside(folder: str) -> str:
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), folder)

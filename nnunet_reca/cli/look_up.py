"""The doctor's check of nnU-Net's trainer look-up: what stops it on its way, and what it finds."""

import contextlib
import importlib
import io
import os
import re
import sys
import traceback
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from nnunet_reca._discovery import OPT_OUT_VARIABLE, VARIABLE, last_directory, opted_out, searched, shim_directory
from nnunet_reca.cli.finding import Finding, Status, first_line
from nnunet_reca.trainers.names import base_names, longest_names

EXPORT = f"export {VARIABLE}={shim_directory()} (after your own entries, separated by {os.pathsep!r})"


@dataclass(frozen=True)
class Fault:
    """A trainer file that cannot be imported.

    Attributes:
        file: the innermost file of the folder that takes part.
        error: type and message.
        remedy: what to do about it.
    """

    file: str
    error: str
    remedy: str


def check_look_up() -> Iterator[Finding]:
    """The start-up hook, folders that nnU-Net cannot search, and what its own look-up finds."""
    importlib.import_module("nnunetv2.paths")  # which reads the variable
    yield _hook()
    faults = list(_faults())
    yield from faults
    if not any(fault.status is Status.PROBLEM for fault in faults):  # every look-up would end there
        yield from _names()


def _hook() -> Finding:
    """Whether nnU-Net searches the shim directory."""
    places = [place for place in searched() if place != last_directory()]
    if any(map(_is_ours, places)):
        return Finding(Status.OK, f"nnU-Net searches {os.pathsep.join(places)}")
    if opted_out():
        text = f"{OPT_OUT_VARIABLE} is set: the start-up hook leaves {VARIABLE} alone"
        return Finding(Status.WARNING, text, f"unset {OPT_OUT_VARIABLE}, or {EXPORT}")
    return Finding(Status.WARNING, f"the start-up hook did not run: {VARIABLE} lacks {shim_directory()}", EXPORT)


def _faults() -> Iterator[Finding]:
    """Folders whose import fails: that ends every look-up that comes to them; ours where they are searched before."""
    import nnunetv2

    package = nnunetv2.__path__[0]
    stock = find_fault(os.path.join(package, "training", "nnUNetTrainer"), "nnunetv2.training.nnUNetTrainer", package)
    if stock:
        remedy = f"{stock.remedy}; where the file is nnU-Net's own: pip install --force-reinstall --no-deps nnunetv2"
        yield Finding(Status.PROBLEM, f"nnU-Net cannot search its own trainers: {stock.file}: {stock.error}", remedy)
    status = Status.PROBLEM
    for place in searched():
        if _is_ours(place):
            status = Status.WARNING
            continue
        fault = find_fault(place, None, place) if os.path.exists(place) else None
        if fault:
            remedy = f"{fault.remedy}, or take {place} out of {VARIABLE}"
            yield Finding(status, f"nnU-Net cannot search {place}: {fault.file}: {fault.error}", remedy)


def find_fault(folder: str, package: str | None, root: str) -> Fault | None:
    """Search one folder for one of our names, as nnU-Net does; what it fails at, if it does.

    Args:
        folder: trainers.
        package: full name of the package that the folder is; None where its modules have bare names.
        root: folder to import from.
    """
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            recursive_find_python_class(
                folder, base_names()[0], package, root, verbose=True, cleanup_imports_from_base_folder=package is None
            )
    except (Exception, SystemExit) as error:  # a module may raise anything, or end the program
        modules = re.findall(r"Inspecting module: (\S+)", said.getvalue())
        file = _file_at_fault(error, folder) or (f"module {modules[-1]}" if modules else folder)
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        remedy = f"install {missing} into this environment" if missing else f"correct {file}"
        return Fault(file, f"{type(error).__name__}: {first_line(error)}", remedy)
    return None


def _file_at_fault(error: BaseException, folder: str) -> str | None:
    """The innermost file of the folder in an error's traceback, or the one that has no valid syntax."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        files.append(error.filename)
    inside = os.path.join(os.path.realpath(folder), "")
    return next((file for file in reversed(files) if os.path.realpath(file).startswith(inside)), None)


def _names() -> Iterator[Finding]:
    """What nnU-Net's look-up finds for each of our names; names of one outcome in one finding."""
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    from nnunet_reca import trainers

    failed, hidden = defaultdict(list), defaultdict(list)
    for name in (*base_names(), longest_names()[0]):
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                found = recursive_find_trainer_class_by_name(name)
        except Exception as error:
            missing = isinstance(error, RuntimeError) and "Could not find" in str(error)
            failed["in none of the folders it searches" if missing else first_line(error)].append(name)
            continue
        if found is getattr(trainers, name):
            yield Finding(Status.OK, f"nnU-Net finds {name} in {found.__module__}")
        else:
            hidden[getattr(sys.modules.get(found.__module__), "__file__", found.__module__)].append(name)
    for reason, names in failed.items():
        yield Finding(Status.PROBLEM, f"nnU-Net does not find {', '.join(names)}: {reason}", EXPORT)
    for place, names in hidden.items():
        remedy = f"rename what hides ours, or take its folder out of {VARIABLE}"
        yield Finding(Status.WARNING, f"nnU-Net finds another {', '.join(names)} first: {place}", remedy)


def _is_ours(place: str) -> bool:
    ours = (shim_directory(), last_directory())
    return os.path.realpath(place) in map(os.path.realpath, ours)

"""The doctor's check of nnU-Net's trainer look-up: what stops it on its way, and what it finds."""

import contextlib
import importlib
import io
import os
import re
import sys
import traceback
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nnunet_reca._discovery import OPT_OUT_VARIABLE, VARIABLE, last_directory, opted_out, searched, shim_directory
from nnunet_reca.cli.finding import Finding, Status, first_line
from nnunet_reca.trainers.names import GRAMMAR, base_names, longest_names

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
    """The start-up hook, what stops or hides ours on nnU-Net's way to them, and what its own look-up finds."""
    importlib.import_module("nnunetv2.paths")  # which reads the variable
    yield _hook()
    met = list(_on_the_way())
    yield from met
    if not any(finding.status is Status.PROBLEM for finding in met):  # every look-up would end there
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


def _on_the_way() -> Iterator[Finding]:
    """Folders whose import fails: that ends every look-up that comes to them; and those that hide trainers of ours."""
    import nnunetv2

    root = nnunetv2.__path__[0]
    fault, hidden = search(os.path.join(root, "training", "nnUNetTrainer"), "nnunetv2.training.nnUNetTrainer", root)
    if fault:
        remedy = f"{fault.remedy}; where the file is nnU-Net's own: pip install --force-reinstall --no-deps nnunetv2"
        yield Finding(Status.PROBLEM, f"nnU-Net cannot search its own trainers: {fault.file}: {fault.error}", remedy)
    yield from _hides(hidden, "rename what hides ours, or move it out of nnunetv2")
    before = True
    for place in searched():
        if _is_ours(place):
            before = False
        elif os.path.exists(place):
            fault, hidden = search(place, None, place)
            if fault:
                status, remedy = Status.PROBLEM if before else Status.WARNING, f"{fault.remedy}, or take {place} out of"
                text = f"nnU-Net cannot search {place}: {fault.file}: {fault.error}"
                yield Finding(status, text, f"{remedy} {VARIABLE}")
            if before:
                yield from _hides(hidden, f"rename what hides ours, or take {place} out of {VARIABLE}")


def _hides(hidden: Mapping[str, Sequence[str]], remedy: str) -> Iterator[Finding]:
    for file, names in hidden.items():
        yield Finding(Status.WARNING, f"nnU-Net finds another {', '.join(names)} first: {file}", remedy)


def search(folder: str, package: str | None, root: str) -> tuple[Fault | None, dict[str, list[str]]]:
    """Search one folder as nnU-Net does.

    Args:
        folder: trainers.
        package: full name of the package that the folder is; None where its modules have bare names.
        root: folder to import from.

    Returns:
        What fails, if anything, and by file the names of ours that it has.
    """
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    said = io.StringIO()
    held: dict[str, list[str]] = defaultdict(list)
    module = folder
    with _imports_from(root, forget=package is None):
        try:
            with contextlib.redirect_stdout(said):
                recursive_find_python_class(folder, "a name of nobody", package, root, verbose=True)
            for module in _inspected(said):
                for name in base_names():
                    if hasattr(sys.modules.get(module), name):  # which a module may answer by itself
                        held[getattr(sys.modules[module], "__file__", None) or module].append(name)
        except (Exception, SystemExit) as error:  # a module may raise anything, or end the program
            if module == folder:
                module = next(reversed(_inspected(said)), folder)
            file = _file_at_fault(error, folder) or module
            missing = error.name if isinstance(error, ModuleNotFoundError) else None
            remedy = f"install {missing} into this environment" if missing else f"correct {file}"
            return Fault(file, f"{type(error).__name__}: {first_line(error)}", remedy), held
    return None, held


def _inspected(said: io.StringIO) -> list[str]:
    """Modules that nnU-Net's search imported, by what it said."""
    return re.findall(r"Inspecting module: (\S+)", said.getvalue())


@contextlib.contextmanager
def _imports_from(root: str, *, forget: bool) -> Iterator[None]:
    """Imports go to a folder first; modules from it are forgotten afterwards, so that others may have their names."""
    before = set(sys.modules)
    sys.path.insert(0, root)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # a module may have done it
            sys.path.remove(root)
        for name in set(sys.modules) - before if forget else ():
            if _is_inside(getattr(sys.modules[name], "__file__", None) or "", root):
                del sys.modules[name]


def _file_at_fault(error: BaseException, folder: str) -> str | None:
    """The innermost file of the folder in an error's traceback, or the one that has no valid syntax."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        files.append(error.filename)
    return next((file for file in reversed(files) if _is_inside(file, folder)), None)


def _is_inside(file: str, folder: str) -> bool:
    return os.path.realpath(file).startswith(os.path.join(os.path.realpath(folder), ""))


def _names() -> Iterator[Finding]:
    """What nnU-Net's look-up finds for a plain name of ours and one of all options; the others go the same way."""
    from nnunet_reca import trainers
    from nnunet_reca.trainers.find import find_trainer

    failed = defaultdict(list)
    for name in (base_names()[1], longest_names()[0]):
        try:
            found = find_trainer(name)
        except Exception as error:
            missing = isinstance(error, RuntimeError) and "Could not find" in str(error)
            failed["in none of the folders it searches" if missing else first_line(error)].append(name)
            continue
        yield Finding(Status.OK, f"nnU-Net finds {name} in {found.__module__}")
    for reason, names in failed.items():
        yield Finding(Status.PROBLEM, f"nnU-Net does not find {', '.join(names)}: {reason}", EXPORT)
    if not failed:
        for name in base_names():
            getattr(trainers, name)
        yield Finding(Status.OK, f"names of trainers: {GRAMMAR}")


def _is_ours(place: str) -> bool:
    ours = (shim_directory(), last_directory())
    return os.path.realpath(place) in map(os.path.realpath, ours)

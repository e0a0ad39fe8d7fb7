"""``nnUNetv2_reca_doctor``: what is picked up, what is missing, and what to do about it."""

import argparse
import contextlib
import importlib
import importlib.metadata
import io
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion

import nnunet_reca
from nnunet_reca._discovery import OPT_OUT_VARIABLE, VARIABLE, shim_directory
from nnunet_reca.trainers.names import base_names

SUPPORTED_NNUNET = SpecifierSet(">=2.8.1,<3")


class Status(Enum):
    """Outcome of a check; only a problem keeps a training from starting."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "PROBLEM"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        status: outcome.
        text: what was found.
        remedy: what to do about it, empty if nothing.
    """

    status: Status
    text: str
    remedy: str = ""


def check_packages() -> Iterator[Finding]:
    """Versions and places of this package, nnU-Net and torch."""
    place = os.path.dirname(nnunet_reca.__file__)
    yield Finding(Status.OK, f"nnunet_reca {nnunet_reca.__version__} from {place}")
    for name in ("nnunetv2", "torch", "timm", "dynamic_network_architectures"):
        try:
            module = importlib.import_module(name)
        except Exception as error:  # any failure of an import is the finding
            yield Finding(
                Status.PROBLEM,
                f"{name} cannot be imported: {type(error).__name__}: {error}",
                f"pip install --force-reinstall {name}"
                + (" torchvision (of matching versions)" if "torchvision" in str(error) else ""),
            )
            continue
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = "(not an installed distribution)"
        yield Finding(Status.OK, f"{name} {version} from {os.path.dirname(module.__file__ or '')}")
        if name == "nnunetv2" and not _supported(version):
            yield Finding(Status.PROBLEM, f"nnunetv2 {version} is not supported", 'pip install "nnunetv2>=2.8.1,<3"')


def check_device() -> Iterator[Finding]:
    """Accelerators that torch sees."""
    import torch

    if torch.cuda.is_available():
        yield Finding(Status.OK, f"CUDA device: {torch.cuda.get_device_name()}, torch built for {torch.version.cuda}")
    elif torch.backends.mps.is_available():
        yield Finding(Status.OK, "Apple MPS device: train and predict with -device mps")
    else:
        yield Finding(
            Status.WARNING,
            f"no accelerator, {torch.get_num_threads()} CPU threads",
            "train with -device cpu and a _tiny trainer, or install a torch build that matches your GPU driver",
        )


def check_discovery() -> Iterator[Finding]:
    """The start-up hook and what nnU-Net's own look-up finds."""
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    from nnunet_reca import trainers

    remedy = f"export {VARIABLE}={shim_directory()} (after your own entries, separated by {os.pathsep!r})"
    entries = os.environ.get(VARIABLE, "").split(os.pathsep)
    if shim_directory() in entries:
        yield Finding(Status.OK, f"{VARIABLE} = {os.environ[VARIABLE]}")
    elif os.environ.get(OPT_OUT_VARIABLE, "0") not in ("", "0"):
        yield Finding(
            Status.WARNING,
            f"{OPT_OUT_VARIABLE} is set: the start-up hook leaves {VARIABLE} alone",
            f"unset {OPT_OUT_VARIABLE}, or {remedy}",
        )
    else:
        yield Finding(Status.WARNING, f"the start-up hook did not run: {VARIABLE} lacks {shim_directory()}", remedy)

    for name in (*base_names(), f"{base_names()[-1]}_tiny_1epochs"):
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                found = recursive_find_trainer_class_by_name(name)
        except Exception as error:  # a broken neighbour on the search path may raise anything
            yield Finding(Status.PROBLEM, f"nnU-Net does not find {name}: {_first_line(error)}", remedy)
            continue
        if found is getattr(trainers, name):
            yield Finding(Status.OK, f"nnU-Net finds {name} in {found.__module__}")
        else:
            place = getattr(sys.modules.get(found.__module__), "__file__", found.__module__)
            yield Finding(
                Status.WARNING,
                f"nnU-Net finds another {name} first: {place}",
                f"rename that class or take its folder out of {VARIABLE}",
            )


def check_folders() -> Iterator[Finding]:
    """nnU-Net's three folders; planning needs the raw data, training the other two."""
    for variable, status in (
        ("nnUNet_raw", Status.WARNING),
        ("nnUNet_preprocessed", Status.PROBLEM),
        ("nnUNet_results", Status.PROBLEM),
    ):
        folder = os.environ.get(variable)
        if not folder:
            yield Finding(status, f"{variable} is not set", f"export {variable}=/path/to/{variable}")
        elif not os.path.isdir(folder):
            yield Finding(status, f"{variable} = {folder} is not a folder", f"mkdir -p {folder}")
        elif not _writable(folder):
            yield Finding(status, f"{variable} = {folder} is not writable", f"chmod u+w {folder}, or choose another")
        else:
            yield Finding(Status.OK, f"{variable} = {folder}")
    workers = os.environ.get("nnUNet_n_proc_DA")
    if workers is not None and (not workers.isdecimal() or int(workers) < 1):
        yield Finding(
            Status.PROBLEM,
            f"nnUNet_n_proc_DA = {workers!r} is not a positive whole number",
            "export nnUNet_n_proc_DA=2, or unset it",
        )


CHECKS: dict[str, Callable[[], Iterator[Finding]]] = {
    "Packages": check_packages,
    "Device": check_device,
    "Trainers": check_discovery,
    "Folders": check_folders,
}


def main(arguments: list[str] | None = None) -> int:
    """Run all checks and print a report.

    Returns:
        1 if a training could not start, otherwise 0.
    """
    parser = argparse.ArgumentParser(
        prog="nnUNetv2_reca_doctor",
        description="Shows which nnU-Net, torch, device and trainers are picked up, and what to do about problems. "
        "Exit status 1 if a training could not start.",
    )
    parser.parse_args(arguments)
    problems = 0
    for title, check in CHECKS.items():
        _say(f"{title}")
        try:
            findings = list(check())
        except Exception as error:  # a check that breaks is a finding, the others still run
            findings = [Finding(Status.PROBLEM, f"the check failed: {type(error).__name__}: {_first_line(error)}")]
        for finding in findings:
            _say(f"  [{finding.status.value}] {finding.text}")
            if finding.remedy:
                _say(f"      -> {finding.remedy}")
        problems += sum(finding.status is Status.PROBLEM for finding in findings)
    _say(f"{problems} problem(s): a training could not start" if problems else "Ready to train")
    return 1 if problems else 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _supported(version: str) -> bool:
    try:
        return SUPPORTED_NNUNET.contains(version)
    except InvalidVersion:
        return True  # a build of one's own


def _writable(folder: str) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


if __name__ == "__main__":
    sys.exit(main())

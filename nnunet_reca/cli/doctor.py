"""``nnUNetv2_reca_doctor``: what is picked up, what is missing, and what to do about it."""

import argparse
import contextlib
import importlib
import importlib.metadata
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from packaging.version import InvalidVersion, Version

import nnunet_reca
from nnunet_reca.cli.console import on_any_console, say
from nnunet_reca.cli.finding import Finding, Status, first_line
from nnunet_reca.cli.look_up import check_look_up
from nnunet_reca.cli.memory import show_memory
from nnunet_reca.results.access import nearest, obstacle
from nnunet_reca.trainers.variables import SMALLEST, whole_number

OLDEST_NNUNET, UNKNOWN_NNUNET = Version("2.8.1"), Version("3")


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
        if name == "nnunetv2":
            yield from _check_version(version)


def _check_version(version: str) -> Iterator[Finding]:
    """An nnU-Net that is too old does not know external trainers; a newer one than was tested may do."""
    remedy = f'pip install "nnunetv2>={OLDEST_NNUNET},<{UNKNOWN_NNUNET}"'
    with contextlib.suppress(InvalidVersion):  # of a build of one's own
        if Version(version).release < OLDEST_NNUNET.release:
            yield Finding(Status.PROBLEM, f"nnunetv2 {version} is too old", remedy)
        elif Version(version).release >= UNKNOWN_NNUNET.release:
            yield Finding(Status.WARNING, f"nnunetv2 {version} is newer than what was tested", remedy)


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
        if gain := bfloat16_gain(_processor_flags()):
            yield Finding(Status.OK, gain)


def bfloat16_gain(flags: Collection[str]) -> str:
    """What a trainer with ``_bf16`` gains on a processor with these flags; empty where it has no units for it."""
    if "amx_bf16" in flags:
        return "the processor has bfloat16 units (AMX): trainers with _bf16 take about half of float32's time"
    if "avx512_bf16" in flags:
        return "the processor has bfloat16 instructions (AVX-512): trainers with _bf16 may take less time"
    return ""


def _processor_flags(cpuinfo: str = "/proc/cpuinfo") -> set[str]:
    """Instruction sets: as PyTorch tells them, where it does, else as Linux lists them."""
    import torch

    capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    if capabilities:
        return {name for name, there in capabilities.items() if there is True}
    with contextlib.suppress(OSError), open(cpuinfo, encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("flags"):
                return set(line.partition(":")[2].split())
    return set()


def check_settings() -> Iterator[Finding]:
    """Numbers that nnU-Net and the trainers read from the environment."""
    stock = (("nnUNet_n_proc_DA", 0, "a training"), ("nnUNet_def_n_proc", 1, "validation"))
    if not any(variable in os.environ for variable in (*(row[0] for row in stock), *SMALLEST)):
        yield Finding(Status.OK, "none in the environment")
    for variable, smallest, use in stock:
        value = os.environ.get(variable)
        if value is None:
            continue
        try:
            valid = int(value) >= smallest
        except ValueError:
            valid = False
        if not valid:
            text = f"{variable} = {value!r}, where {use} needs a whole number of at least {smallest}"
            yield Finding(Status.PROBLEM, text, f"export {variable}=2, or unset it")
        elif variable == "nnUNet_n_proc_DA" and int(value) == 0:
            text = f"{variable} = 0: trainings load data in their own process, which can be repeated"
            yield Finding(Status.WARNING, text, f"unset {variable} for planning, which does not take a 0")
        else:
            yield Finding(Status.OK, f"{variable} = {value}")
    for variable in SMALLEST:
        try:
            number = whole_number(variable)
        except ValueError as error:
            yield Finding(Status.PROBLEM, str(error), f"unset {variable}")
        else:
            if number is not None:
                yield Finding(Status.OK, f"{variable} = {number}")


def check_trainers() -> Iterable[Finding]:
    """What nnU-Net's own look-up finds."""
    if any(finding.status is Status.PROBLEM for finding in check_settings()):
        return [Finding(Status.WARNING, "not looked up: nnU-Net does not start with the settings above")]
    return check_look_up()


def check_folders() -> Iterator[Finding]:
    """nnU-Net's three folders: planning reads raw data and writes preprocessed ones, from which a training starts."""
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        folder = os.environ.get(variable)
        needed = Status.WARNING if variable == "nnUNet_raw" else Status.PROBLEM
        if not folder:
            yield Finding(needed, f"{variable} is not set", f"export {variable}=/path/to/{variable}")
        elif not os.path.exists(folder) and variable == "nnUNet_results" and not obstacle(nearest(folder)):
            yield Finding(
                Status.WARNING, f"{variable} = {folder} does not exist: nnU-Net makes it", f"mkdir -p {folder}"
            )
        elif not os.path.isdir(folder):
            yield Finding(needed, f"{variable} = {folder} is not a folder", f"mkdir -p {folder}")
        elif reason := obstacle(folder, write=False):
            yield Finding(needed, f"{variable} = {folder} cannot be read: {reason}", f"chmod u+rx {folder}")
        elif variable == "nnUNet_raw" or not (reason := obstacle(folder)):
            yield Finding(Status.OK, f"{variable} = {folder}")
        elif variable == "nnUNet_preprocessed" or any(not obstacle(data) for data in _data_sets(folder)):
            text = f"{variable} = {folder} takes no new data sets: {reason}"
            yield Finding(Status.WARNING, text, "what is there can be used; or choose another folder")
        else:
            yield Finding(
                needed, f"{variable} = {folder} is not writable: {reason}", f"chmod u+w {folder}, or choose another"
            )


CHECKS: dict[str, Callable[[], Iterable[Finding]]] = {
    "Packages": check_packages,
    "Device": check_device,
    "Settings": check_settings,
    "Trainers": check_trainers,
    "Folders": check_folders,
}


@on_any_console
def main(arguments: list[str] | None = None) -> int:
    """Run all checks and print a report, or show the memory of a training.

    Returns:
        1 if a training could not start, or its memory could not be estimated, otherwise 0.
    """
    parser = argparse.ArgumentParser(
        prog="nnUNetv2_reca_doctor",
        description="Shows which nnU-Net, torch, device and trainers are picked up, and what to do about problems. "
        "Exit status 1 if a training could not start. With -d and -tr it shows instead what memory a training step "
        "takes, by an estimate for which no device is needed.",
    )
    parser.add_argument("-d", dest="dataset", help="name or number of a planned data set")
    parser.add_argument("-tr", dest="trainer", help="any trainer that nnU-Net finds")
    parser.add_argument("-p", dest="plans", default="nnUNetPlans", help="name of the plans (default: nnUNetPlans)")
    parser.add_argument("-c", dest="configuration", nargs="+", help="configurations (default: all of the plans)")
    parser.add_argument("-device", choices=("cuda", "cpu"), default="cuda", help="that trains (default: cuda)")
    options = parser.parse_args(arguments)
    if (options.dataset is None) != (options.trainer is None):
        parser.error("expected -d and -tr together, got one of them; leave both out for a report on the installation")
    if options.dataset is not None:
        return show_memory(options)
    return _report()


def _report() -> int:
    """Print what all checks found; 1 if a training could not start."""
    problems = 0
    for title, check in CHECKS.items():
        say(title)
        for finding in _findings(check):
            problems += finding.status is Status.PROBLEM
            say(f"  [{finding.status.value}] {finding.text}")
            if finding.remedy:
                say(f"      -> {finding.remedy}")
    say(f"{problems} problem(s): a training could not start" if problems else "Ready to train")
    return 1 if problems else 0


def _findings(check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Findings of a check; one that breaks is a finding, too, and the others still run."""
    try:
        yield from check()
    except Exception as error:
        yield Finding(Status.PROBLEM, f"the check failed: {type(error).__name__}: {first_line(error)}")


def _data_sets(folder: str) -> list[str]:
    return [entry.path for entry in os.scandir(folder) if entry.name.startswith("Dataset") and entry.is_dir()]


if __name__ == "__main__":
    sys.exit(main())

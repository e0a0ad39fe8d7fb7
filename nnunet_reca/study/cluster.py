"""What a study needs on a SLURM cluster beside what its user says."""

import getpass
import hashlib
import importlib.util
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

PLUGIN = "snakemake-executor-plugin-slurm"
#: seconds until files that a job wrote on another machine are seen here, at most
LATENCY = 60
#: in SLURM's configuration, where nobody keeps accounts
NO_ACCOUNTING = "accounting_storage/none"


def value_of(given: Sequence[str], *names: str) -> str | None:
    """Value of an option among words of a command line.

    Args:
        given: the words, such as ``--jobs 32``, ``--jobs=32``, ``-j 32`` or ``-j32``.
        names: of the option, long and short.

    Returns:
        The value, empty where the option has none, None where it is not given.
    """
    for word, after in pairwise([*given, ""]):
        for name in names:
            if word == name:
                return "" if after.startswith("-") else after
            joined = f"{name}=" if name.startswith("--") else name
            if word.startswith(joined) and not (joined == name and word.startswith("--")):
                return word.removeprefix(joined)
    return None


def on_slurm(given: Sequence[str]) -> bool:
    """Whether options of Snakemake send jobs to SLURM."""
    return value_of(given, "--executor", "-e") == "slurm"


def slurm_problems(given: Sequence[str]) -> Iterator[str]:
    """What keeps a study from SLURM.

    Args:
        given: options of Snakemake.
    """
    if importlib.util.find_spec(PLUGIN.replace("-", "_")) is None:
        yield f"Snakemake's plug-in for SLURM is not installed: pip install {PLUGIN}"
    if shutil.which("sbatch") is None:
        yield "SLURM's sbatch is not on the PATH; start the study on a machine that submits to the cluster"
    if value_of(given, "--jobs", "-j", "--cores", "-c", "--profile", "--workflow-profile") is None:
        yield "expected the number of jobs that may wait or run on the cluster at a time; say --jobs 32"


def slurm_options(given: Sequence[str], folder: Path) -> list[str]:
    """Options of Snakemake that a study needs on SLURM, as far as they are not given.

    Jobs are named after the study; logs lie in its folder; files of jobs may be late; jobs that were pre-empted are
    queued again by SLURM, and go on from their checkpoint; clusters without accounting are asked by squeue, as sacct
    knows no job there, ever.

    Args:
        given: options of Snakemake.
        folder: of the study.
    """
    words = []
    if value_of(given, "--slurm-jobname-prefix") is None:
        words += ["--slurm-jobname-prefix", job_prefix(folder)]
    if value_of(given, "--slurm-logdir") is None:
        words += ["--slurm-logdir", str(folder / "logs" / "slurm")]
    if value_of(given, "--latency-wait", "--output-wait", "-w") is None:
        words += ["--latency-wait", str(LATENCY)]
    if value_of(given, "--slurm-requeue", "--slurm-no-requeue") is None:
        words += ["--slurm-requeue"]
    if value_of(given, "--slurm-status-command") is None and not has_accounting():
        words += ["--slurm-status-command", "squeue"]
    return words


def job_prefix(folder: Path) -> str:
    """What the names of a study's jobs begin with."""
    return f"reca_{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"


def cancel_waiting(folder: Path) -> list[str]:
    """Cancel jobs of a study that were submitted by a run that was killed, and have not started.

    The run that follows submits them again; those that have started go on, and are waited for by their successors.

    Returns:
        Numbers of the jobs.
    """
    words = ["squeue", "--noheader", f"--user={getpass.getuser()}", "--states=PENDING", "--format=%i|%j"]
    try:
        lines = subprocess.run(
            words, capture_output=True, encoding="utf-8", errors="replace", timeout=60
        ).stdout.splitlines()
        jobs = [number for number, _, name in (line.partition("|") for line in lines) if _mine(name, folder)]
        if jobs:
            subprocess.run(["scancel", "--state=PENDING", *jobs], capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):  # whatever is wrong, the study says so when it submits
        return []
    return jobs


def _mine(name: str, folder: Path) -> bool:
    return name.strip().startswith(f"{job_prefix(folder)}_")


def has_accounting() -> bool:
    """Whether the cluster keeps accounts of its jobs; so it is taken where nothing tells."""
    try:
        done = subprocess.run(
            ["scontrol", "show", "config"], capture_output=True, encoding="utf-8", errors="replace", timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return True
    entries = dict(line.replace(" ", "").split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    return entries.get("AccountingStorageType") != NO_ACCOUNTING

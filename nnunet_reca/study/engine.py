"""Snakemake's command line and environment, from what is asked for and where it runs."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from nnunet_reca.study.checks import gpus_here
from nnunet_reca.study.cluster import on_slurm, slurm_options, value_of
from nnunet_reca.study.guard import LOCAL, place
from nnunet_reca.study.spec import STEPS, Study

SNAKEFILE = Path(__file__).with_name("Snakefile")
#: options of Snakemake that send jobs elsewhere, or may do so
_ELSEWHERE = ("--executor", "-e", "--profile", "--workflow-profile")
_AMOUNT = ("--cores", "--jobs", "-j")


@dataclass(frozen=True)
class Request:
    """What a call of the command asks for.

    Attributes:
        folder: of the study.
        content: of study.yaml, with what the call changes.
        snakemake: options that go to Snakemake as they are.
        repeat_trainings: models that were trained with other plans are put aside and trained anew.
    """

    folder: Path
    content: Mapping[str, Any]
    snakemake: Sequence[str] = ()
    repeat_trainings: bool = False

    @property
    def local(self) -> bool:
        """Whether all jobs run on this machine."""
        words = [part for word in self.snakemake for part in word.split("=", 1)]
        named = [next_ for word, next_ in pairwise([*words, ""]) if word in _ELSEWHERE]
        return all(name == "local" for name in named)


def command(study: Study, request: Request) -> list[str]:
    """Snakemake's command line."""
    given = request.snakemake
    words = [sys.executable, "-m", "snakemake"]
    if not {"--snakefile", "-s"} & set(given):
        words += ["--snakefile", str(SNAKEFILE)]
    words += ["--directory", str(request.folder), "--keep-going", "--rerun-incomplete", "--nolock", "--drop-metadata"]
    words += ["--rerun-triggers", "input"]
    if value_of(given, "--retries", "--restart-times", "-T") is None:
        # not by the rules, whose word counts in the Snakemake inside of a cluster's job, too: retries of retries
        words += ["--retries", str(study.retries)]
    if request.local:
        if not set(_AMOUNT) & set(given):
            words += ["--cores", str(cores())]
        if study.device == "cuda" and "--resources" not in given:
            words += ["--resources", f"gpu={_places(study)}"]
        if "--set-threads" not in given:
            words += ["--set-threads", f"train={threads(study)}"]
    elif on_slurm(given):
        words += slurm_options(given, request.folder)
    return [*words, *given]


def threads(study: Study) -> int:
    """Cores of a training on this machine: those that the study names, or an equal share."""
    named = study.threads("train")
    if named != STEPS["train"]["threads"]:
        return named
    share = cores() * study.num_gpus // max(1, _places(study)) if study.device == "cuda" else cores()
    return max(1, min(share, cores(), named))


def side_by_side(study: Study, request: Request) -> int:
    """How many trainings run at a time, at most."""
    if not request.local:
        jobs = value_of(request.snakemake, "--jobs", "-j") or ""
        return int(jobs) if jobs.isdecimal() and int(jobs) else 1
    there = cores() // threads(study)
    return max(1, min(there, _places(study) // study.num_gpus) if study.device == "cuda" else there)


def _places(study: Study) -> int:
    """Trainings of one GPU that this machine has room for."""
    return len(gpus_here(study)) * study.trainings_per_gpu


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


def environment(study: Study, request: Request) -> dict[str, str]:
    """Variables of Snakemake and its jobs."""
    variables = dict(os.environ)
    scripts = str(Path(sys.executable).parent)
    if scripts not in variables.get("PATH", "").split(os.pathsep):  # called by its path, nothing is activated
        variables["PATH"] = os.pathsep.join(filter(None, [scripts, variables.get("PATH")]))
    if request.local and study.device == "cuda":
        local = {"place": place(), "gpus": gpus_here(study), "slots": study.trainings_per_gpu}
        variables[LOCAL] = json.dumps(local)
    return variables

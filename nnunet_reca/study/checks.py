"""Everything that would keep a study from running, found before anything starts."""

import importlib.util
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from nnunet_reca.results.access import nearest, obstacle
from nnunet_reca.results.problems import Problems, first_line
from nnunet_reca.study import nnunet
from nnunet_reca.study.cluster import on_slurm, slurm_problems
from nnunet_reca.study.fit import fit_problems
from nnunet_reca.study.jobs import all_jobs
from nnunet_reca.study.spec import PLANNERS, Study
from nnunet_reca.study.states import unfinished
from nnunet_reca.trainers.names import parse_trainer_name
from nnunet_reca.trainers.seeds import split_seed, takes_seed

#: the oldest Python that Snakemake 9 runs on
OLDEST_PYTHON = (3, 11)
#: trainers of nnU-Net that need no look-up
STOCK = ("nnUNetTrainer",)


def check(study: Study, folder: Path, *, local: bool, snakemake: Sequence[str] = ()) -> None:
    """Check machine, folders, data, plans and trainers.

    Args:
        folder: of the study.
        local: whether jobs run on this machine.
        snakemake: options of Snakemake.

    Raises:
        Problems: naming everything that is wrong.
    """
    problems = [*_engine(), *(slurm_problems(snakemake) if on_slurm(snakemake) else ()), *_folders(folder)]
    if all(os.path.isdir(os.environ.get(name) or "") for name in nnunet.FOLDERS[1:]):
        problems += [*_data(study, folder), *_plans(study)]
    problems += [*_seeds(study), *_trainers(study), *(_devices(study) if local else _several_gpus(study))]
    if problems:
        raise Problems(list(dict.fromkeys(problems)), "the study cannot start")


def _engine() -> Iterator[str]:
    if os.name != "posix":
        yield "expected Linux or macOS, whose file locks a study needs; use WSL on Windows"
    if importlib.util.find_spec("snakemake") is None or importlib.util.find_spec("yaml") is None:
        version = ".".join(map(str, OLDEST_PYTHON))
        remedy = 'pip install "nnunet-reca[study]"'
        if sys.version_info < OLDEST_PYTHON:
            remedy = f"it needs Python {version} or newer, this is {sys.version.split()[0]}; there: {remedy}"
        yield f"Snakemake, which runs the jobs, is not installed: {remedy}"


def _folders(folder: Path) -> Iterator[str]:
    for variable in nnunet.FOLDERS:
        value = os.environ.get(variable)
        if not value:
            yield f"{variable} is not set; export {variable}=/path/to/{variable}"
        elif not os.path.isdir(value) and variable != "nnUNet_raw":
            yield f"{variable} = {value} is not a folder; mkdir -p {value}"
        elif variable != "nnUNet_raw" and (reason := obstacle(value)):
            yield f"{variable} = {value} is not writable: {reason}; chmod u+w {value}, or choose another"
    if folder.exists() and not folder.is_dir():
        yield f"{folder} is not a folder; choose another with -o"
    elif reason := obstacle(nearest(str(folder))):
        yield f"the study's folder {folder} cannot be written: {reason}; choose another with -o"


def _data(study: Study, folder: Path) -> Iterator[str]:
    for dataset in study.datasets:
        found = nnunet.candidates(dataset)
        if len(found) != 1:
            places = ", ".join(f"{name} = {os.environ.get(name)}" for name in nnunet.FOLDERS)
            there = f"there are {' and '.join(found)}" if found else "there is none"
            yield f"data set {dataset}: expected one of this name or number in nnU-Net's folders, {there}; {places}"
            continue
        if (nnunet.raw(dataset) / "dataset.json").is_file():
            continue
        early = [job for job in all_jobs(study) if job.dataset == dataset and job.kind == "preprocess"]
        if any(unfinished(study, folder, job) for job in early):
            yield f"data set {dataset}: {nnunet.raw(dataset)} holds no dataset.json, and it is not preprocessed"


def _plans(study: Study) -> Iterator[str]:
    for dataset in study.datasets:
        for plans in study.plans:
            if nnunet.plans_content(dataset, plans) is None and plans not in study.planners:
                yield (
                    f"plans {plans}: {nnunet.preprocessed(dataset)} has none of this name, and no planner is "
                    f"known to make them; name a planner with -pl, such as {', '.join(PLANNERS)}"
                )
            else:
                yield from fit_problems(study, dataset, plans)


def _seeds(study: Study) -> Iterator[str]:
    for trainer in study.trainers:
        if study.seeds and takes_seed(trainer) and split_seed(trainer)[1]:
            yield f"{trainer} names its seed, and the study has seeds; leave one of them out"


def _trainers(study: Study) -> list[str]:
    """Problems of trainers that are not plainly ours, for which nnU-Net's look-up is asked in a process of its own."""
    names = [name for name in study.trainers if name not in STOCK and not takes_seed(name)]
    if not names:
        return []
    plans = [
        (f"{dataset}, {name}", configuration, content)
        for dataset in study.datasets
        for name in study.plans
        for configuration in study.configurations
        if (content := nnunet.plans_content(dataset, name)) and configuration in content["configurations"]
    ]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(look_up, names, plans).result()
        except BrokenProcessPool:
            return [f"nnU-Net's look-up of {', '.join(names)} ended this Python; run nnUNetv2_reca_doctor"]


def look_up(names: Sequence[str], plans: Sequence[tuple[str, str, Mapping[str, Any]]]) -> list[str]:
    """Problems of trainers that nnU-Net has to find.

    Args:
        names: of trainers.
        plans: with the name to call them by, and the configuration; those of this package must suit them.
    """
    from nnunet_reca.trainers.base import RecaTrainer
    from nnunet_reca.trainers.find import find_trainer

    problems = []
    for name in names:
        try:
            found = find_trainer(name)
        except Exception as error:  # whatever a file on the way raises
            problems.append(f"trainer {name}: {_reason(name, error)}")
            continue
        for title, configuration, content in plans if issubclass(found, RecaTrainer) else ():
            try:
                found.rewritten(content, configuration)
            except ValueError as error:
                problems.append(f"{title}, {name}: {first_line(error)}")
    return problems


def _reason(name: str, error: Exception) -> str:
    try:
        parse_trainer_name(name)
    except ValueError as ours:
        return first_line(ours)
    if "Could not find" in str(error):
        return "nnU-Net finds none of this name; see nnUNetv2_reca_doctor for where it looks"
    return f"{type(error).__name__}: {first_line(error)}"


def _several_gpus(study: Study) -> Iterator[str]:
    if study.num_gpus > 1 and study.device != "cuda":
        yield f"num_gpus: expected 1 with device {study.device}, got {study.num_gpus}"


def _devices(study: Study) -> Iterator[str]:
    yield from _several_gpus(study)
    if study.device != "cuda":
        if study.gpus:
            yield f"gpus: expected none with device {study.device}, got {' '.join(study.gpus)}"
        return
    there = gpus_here(study)
    number = _count()
    unknown = [gpu for gpu in study.gpus if gpu.isdecimal() and number is not None and int(gpu) >= number]
    if not there or unknown:
        what = f"GPU {' '.join(unknown)}" if unknown else "GPU"
        yield f"device cuda: PyTorch sees no {what} here; choose others, or say --device cpu"
    elif study.num_gpus > len(there):
        yield f"num_gpus: expected at most {len(there)}, the GPUs that may be taken here, got {study.num_gpus}"


def gpus_here(study: Study) -> list[str]:
    """Devices that trainings on this machine may take, as CUDA_VISIBLE_DEVICES names them."""
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return list(study.gpus) or visible or [str(number) for number in range(_count() or 0)]


def _count() -> int | None:
    """GPUs of this machine, None where CUDA_VISIBLE_DEVICES hides some; torch is asked in a process of its own."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return None
    if not _COUNTED:
        words = [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"]
        done = subprocess.run(words, capture_output=True, encoding="utf-8", errors="replace")
        _COUNTED.append(int(done.stdout) if done.returncode == 0 else 0)
    return _COUNTED[0]


_COUNTED: list[int] = []

"""What a study is: everything that study.yaml says, read and written."""

import dataclasses
import importlib.metadata
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nnunet_reca
from nnunet_reca.results.problems import Problems, first_line
from nnunet_reca.study.nnunet import full_name

FILE = "study.yaml"
HEADER = """# A study of nnunet_reca. Run it, or go on with it: nnUNetv2_reca_study {file}
# Everything below may be edited; what a change would repeat is said first, and trainings are never repeated unasked.
# steps: what a step asks a cluster for, Snakemake's resources (mem_mb, runtime in minutes, slurm_partition, ...).
# Where nothing is said:
{defaults}
"""
DEVICES = ("cuda", "cpu", "mps")
PLANS, PLANNER = "nnUNetPlans", "ExperimentPlanner"
#: planners of nnU-Net's documentation -> their plans; those of others are asked for it
PLANNERS = {
    PLANNER: PLANS,
    "nnUNetPlannerResEncM": "nnUNetResEncUNetMPlans",
    "nnUNetPlannerResEncL": "nnUNetResEncUNetLPlans",
    "nnUNetPlannerResEncXL": "nnUNetResEncUNetXLPlans",
}
PACKAGES = ("nnunetv2", "torch", "snakemake")
#: what a step asks a cluster for: cores, memory in MB, time in minutes. On one machine only the cores count
STEPS: dict[str, dict[str, Any]] = {
    "fingerprint": {"threads": 8, "mem_mb": 32000, "runtime": 240},
    "plan": {"threads": 1, "mem_mb": 8000, "runtime": 60},
    "preprocess": {"threads": 8, "mem_mb": 32000, "runtime": 480},
    "train": {"threads": 12, "mem_mb": 48000, "runtime": 2880},
    "best": {"threads": 8, "mem_mb": 32000, "runtime": 480},
    "predict": {"threads": 8, "mem_mb": 32000, "runtime": 480},
    "evaluate": {"threads": 8, "mem_mb": 16000, "runtime": 120},
    "compare": {"threads": 4, "mem_mb": 16000, "runtime": 240},
}
#: steps that compute on the device
ON_DEVICE = ("train", "predict")


@dataclass(frozen=True)
class Study:
    """Everything asked for; the attributes are the keys of study.yaml.

    Attributes:
        datasets: names or ids.
        trainers: names, without seeds.
        configurations: of the plans.
        plans: names of plans; those of ``planners`` are made where they are missing.
        planners: nnU-Net's planner by name of its plans.
        folds: of nnU-Net's split.
        seeds: of trainers that take ``_seed<N>``; none leaves the names as they are.
        device: cuda, cpu or mps.
        gpus: of this machine that trainings may take; all where none is named.
        trainings_per_gpu: that share one at a time.
        num_gpus: of each training, nnU-Net's ``-num_gpus``.
        ensembles: of all pairs of models take part in the choice of the best; keeps all probabilities (``--npz``).
        retries: attempts after the first, of each job.
        steps: what each step asks a cluster for, :data:`STEPS` where nothing is said; any Snakemake resource goes, such
            as ``slurm_partition``.
        environment: variables of all jobs.
        versions: of the packages with which the file was written.
    """

    datasets: tuple[str, ...]
    trainers: tuple[str, ...]
    configurations: tuple[str, ...] = ("3d_fullres",)
    plans: tuple[str, ...] = (PLANS,)
    planners: Mapping[str, str] = field(default_factory=lambda: {PLANS: PLANNER})
    folds: tuple[int, ...] = (0, 1, 2, 3, 4)
    seeds: tuple[int, ...] = ()
    device: str = "cuda"
    gpus: tuple[str, ...] = ()
    trainings_per_gpu: int = 1
    num_gpus: int = 1
    ensembles: bool = False
    retries: int = 3
    steps: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: STEPS)
    environment: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def step(self, name: str) -> dict[str, Any]:
        """Cores and resources of a step; one that computes on GPUs asks for them, all on one machine."""
        number = self.num_gpus if name == "train" else 1
        gpu = {"gpu": number, "nodes": 1} if self.device == "cuda" and name in ON_DEVICE else {}
        return {**gpu, **self.steps[name]}

    def threads(self, name: str) -> int:
        """Cores of a step."""
        return int(self.step(name)["threads"])

    def resources(self, name: str) -> dict[str, Any]:
        """Snakemake resources of a step, cores aside."""
        return {key: value for key, value in self.step(name).items() if key != "threads"}


def _list_of(one: Callable[[Any], Any], *, least: int = 1) -> Callable[[Any], tuple[Any, ...]]:
    """Reads a list, or a single value, whose entries are all different."""

    def read(value: Any) -> tuple[Any, ...]:
        found = tuple(one(entry) for entry in (value if isinstance(value, (list, tuple)) else [value]))
        if len(found) < least:
            raise ValueError("expected at least one, got none")
        twice = [entry for i, entry in enumerate(found) if entry in found[:i]]
        if twice:
            raise ValueError(f"expected each once, got {twice[0]} several times")
        return found

    return read


def _name(value: Any) -> str:
    text = str(value)
    if isinstance(value, (dict, list, bool)) or not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", text):
        raise ValueError(f"expected a name of letters, digits and _ . + -, got {value!r}")
    return text


def _whole(least: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        text = str(value)
        if isinstance(value, bool) or not text.isdecimal() or int(text) < least:
            raise ValueError(f"expected a whole number of at least {least}, got {value!r}")
        return int(text)

    return read


def _fold(value: Any) -> int:
    if value == "all":
        raise ValueError("expected folds as numbers, got all, which has no held-out cases; train it by nnUNetv2_train")
    return _whole(0)(value)


def _device(value: Any) -> str:
    if value not in DEVICES:
        raise ValueError(f"expected {', '.join(DEVICES)}, got {value!r}")
    return str(value)


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, got {value!r}")
    return value


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"expected entries NAME: VALUE, got {value!r}")
    return {str(key): entry for key, entry in value.items()}


def _texts(value: Any) -> dict[str, str]:
    return {key: str(entry) for key, entry in _mapping(value).items()}


def _planners(value: Any) -> dict[str, str]:
    """Planner by its plans; a list of planners is looked up."""
    if isinstance(value, Mapping):
        return {_name(plans): _name(planner) for plans, planner in value.items()}
    return {plans_of(planner): planner for planner in _list_of(_name)(value)}


def _steps(value: Any) -> dict[str, dict[str, Any]]:
    given = {name: _mapping(entry) for name, entry in _mapping(value).items()}
    unknown = sorted(set(given) - set(STEPS))
    if unknown:
        raise ValueError(f"expected steps of {', '.join(STEPS)}, got {', '.join(unknown)}")
    for name, entry in given.items():
        for key, wanted in entry.items():
            if isinstance(wanted, bool) or not isinstance(wanted, (int, str)):
                raise ValueError(f"expected a number or text for {key} of {name}, got {wanted!r}")
        if "threads" in entry:
            _whole(1)(entry["threads"])
    return {name: {**default, **given.get(name, {})} for name, default in STEPS.items()}


#: key of study.yaml -> how its value is read
READERS: dict[str, Callable[[Any], Any]] = {
    "datasets": _list_of(lambda value: full_name(_name(value))),
    "trainers": _list_of(_name),
    "configurations": _list_of(_name),
    "plans": _list_of(_name),
    "planners": _planners,
    "folds": _list_of(_fold),
    "seeds": _list_of(_whole(0), least=0),
    "device": _device,
    "gpus": _list_of(_name, least=0),
    "trainings_per_gpu": _whole(1),
    "num_gpus": _whole(1),
    "ensembles": _truth,
    "retries": _whole(0),
    "steps": _steps,
    "environment": _texts,
    "versions": _texts,
}


def study_of(content: Mapping[str, Any]) -> Study:
    """A study from the content of study.yaml; empty entries are left at their defaults.

    Raises:
        Problems: naming every unknown key and every bad value.
    """
    problems, values = [], {}
    given = {key: value for key, value in content.items() if value is not None}
    for key, value in given.items():
        if key not in READERS:
            problems.append(f"{key}: no such entry; there are {', '.join(READERS)}")
            continue
        try:
            values[key] = READERS[key](value)
        except ValueError as error:
            problems.append(f"{key}: {first_line(error)}")
    problems += [
        f"{key}: expected at least one, got none" for key in ("datasets", "trainers") if key not in {*given, *values}
    ]
    if problems:
        raise Problems(problems, "this is no study")
    if "planners" in values:
        values.setdefault("plans", tuple(values["planners"]))
    elif "plans" in values:  # plans of somebody's own are there already
        values["planners"] = {plans: planner for planner, plans in PLANNERS.items() if plans in values["plans"]}
    return Study(**values)


def plans_of(planner: str) -> str:
    """Name of the plans that a planner of nnU-Net makes.

    Raises:
        ValueError: if nnU-Net has no such planner.
    """
    if planner in PLANNERS:
        return PLANNERS[planner]
    import inspect

    import nnunetv2
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    folder = str(Path(nnunetv2.__path__[0]) / "experiment_planning")
    found = recursive_find_python_class(folder, planner, "nnunetv2.experiment_planning")
    if found is None:
        raise ValueError(f"expected a planner of nnU-Net, such as {', '.join(PLANNERS)}, got {planner!r}")
    return str(inspect.signature(found.__init__).parameters["plans_name"].default)


def read_study(file: Path) -> dict[str, Any]:
    """Content of a study.yaml.

    Raises:
        ValueError: if it cannot be read.
    """
    import yaml

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise ValueError(f"{file} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ValueError(f"expected entries NAME: VALUE in {file}, got {content!r}")
    return content


def text_of(study: Study) -> str:
    """The study as study.yaml."""
    import yaml

    content = {key: _plain(value) for key, value in dataclasses.asdict(study).items()}
    content["steps"] = {name: changed for name, step in study.steps.items() if (changed := _changed(step, STEPS[name]))}
    defaults = "\n".join(f"#   {name}: {_shown(step)}" for name, step in STEPS.items())
    text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=110)
    return HEADER.format(file=FILE, defaults=defaults) + text


def _changed(step: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in step.items() if value != default.get(key)}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def versions() -> dict[str, str]:
    """Of what a study runs with."""
    found = {"python": platform.python_version(), "nnunet_reca": nnunet_reca.__version__}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def differences(before: Study, after: Study) -> list[str]:
    """What a changed study.yaml asks for, a line for each entry."""
    pairs: Sequence[tuple[str, Any, Any]] = [
        (f.name, getattr(before, f.name), getattr(after, f.name)) for f in dataclasses.fields(Study)
    ]
    return [f"{name}: {_shown(old)} -> {_shown(new)}" for name, old, new in pairs if old != new]


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {entry}" for key, entry in value.items()) or "none"
    return " ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)

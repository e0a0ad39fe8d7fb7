"""The steps of a study and what each waits for."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nnunet_reca.results.files import ModelName
from nnunet_reca.study.nnunet import plans_content, scans, splits
from nnunet_reca.study.spec import Study
from nnunet_reca.trainers.seeds import takes_seed, with_seed

#: kind of job -> its record, which Snakemake sees as its output
RECORDS = {
    "fingerprint": "records/{dataset}/fingerprint.json",
    "plan": "records/{dataset}/plan/{plans}.json",
    "preprocess": "records/{dataset}/preprocess/{plans}/{configuration}.json",
    "train": "records/{dataset}/train/{trainer}/{plans}/{configuration}/fold_{fold}.json",
    "best": "records/{dataset}/best.json",
    "predict": "records/{dataset}/predict.json",
    "evaluate": "records/{dataset}/evaluate.json",
    "compare": "records/{dataset}/compare.json",
}
CASCADE, PREVIOUS = "3d_cascade_fullres", "3d_lowres"
_EPOCHS = re.compile(r"_([1-9][0-9]*)epochs?(?=_|$)")


@dataclass(frozen=True)
class Job:
    """One step; what does not apply is empty.

    Attributes:
        kind: key of :data:`RECORDS`.
        dataset: full name.
        trainer, plans, configuration, fold: of what is planned, preprocessed or trained.
    """

    kind: str
    dataset: str
    trainer: str = ""
    plans: str = ""
    configuration: str = ""
    fold: str = ""

    @property
    def record(self) -> str:
        """Its record in the study's folder."""
        return RECORDS[self.kind].format_map(asdict(self))

    @property
    def log(self) -> str:
        """Its log in the study's folder."""
        return str(Path(self._beside("logs")).with_suffix(".log"))

    @property
    def mark(self) -> str:
        """Its sign of life in the study's folder, while it runs."""
        return self._beside("running")

    @property
    def failure(self) -> str:
        """What is told of its failed attempts in the study's folder."""
        return self._beside("failed")

    def _beside(self, folder: str) -> str:
        """The record's path with another first folder."""
        return str(Path(folder, *Path(self.record).parts[1:]))

    @property
    def model(self) -> ModelName:
        """Of a training."""
        return ModelName(self.trainer, self.plans, self.configuration)

    @property
    def short(self) -> str:
        """A name that leaves room in a line: the data set's number, and of a trainer what it has of its own."""
        trainer = self.trainer.removeprefix("nnUNetTrainer") or self.trainer
        parts = [self.kind, self.dataset[7:10], self.configuration, self.fold and f"fold {self.fold}", trainer]
        return " ".join(filter(None, parts))

    def __str__(self) -> str:
        parts = [self.kind, self.dataset, self.configuration, self.fold and f"fold {self.fold}", self.trainer]
        return " ".join([*filter(None, parts), *([self.plans] if self.plans not in ("", "nnUNetPlans") else [])])


def job_of(record: str) -> Job:
    """The job of a record's path.

    Raises:
        ValueError: if there is none.
    """
    for kind, pattern in RECORDS.items():
        expression = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(pattern))
        if found := re.fullmatch(expression, Path(record).as_posix()):
            return Job(kind, **found.groupdict())
    raise ValueError(f"expected the path of a record, such as {RECORDS['train']}, got {record}")


def epochs_of(trainer: str) -> int:
    """Epochs by a trainer's name; nnU-Net's 1000 without."""
    found = _EPOCHS.search(trainer)
    return int(found[1]) if found else 1000


def all_trainers(study: Study) -> list[str]:
    """Names of all trainers: with each seed where they take one, as they are where not."""
    names = []
    for trainer in study.trainers:
        names += [with_seed(trainer, seed) for seed in study.seeds if takes_seed(trainer)] or [trainer]
    return names


def trainings(study: Study, dataset: str) -> Iterator[Job]:
    """All trainings of a data set that take part in the comparison."""
    for plans in study.plans:
        for configuration in study.configurations:
            for trainer in all_trainers(study):
                for fold in study.folds:
                    yield Job("train", dataset, trainer, plans, configuration, str(fold))


def previous_stage(dataset: str, plans: str, configuration: str) -> str | None:
    """The configuration on whose predictions a cascade is trained."""
    entry = (plans_content(dataset, plans) or {}).get("configurations", {}).get(configuration)
    if entry is None:
        return PREVIOUS if configuration == CASCADE else None
    return entry.get("previous_stage")


def needs(study: Study, job: Job) -> list[Job]:
    """The jobs that a job waits for."""
    data = job.dataset
    if job.kind == "plan":
        return [Job("fingerprint", data)]
    if job.kind == "preprocess":
        return [Job("plan", data, plans=job.plans)]
    if job.kind == "train":
        waits = [Job("preprocess", data, plans=job.plans, configuration=job.configuration)]
        stage = previous_stage(data, job.plans, job.configuration)
        folds = range(len(splits(data)) or 5) if stage else ()  # every case needs a prediction of the stage before
        return waits + [Job("train", data, job.trainer, job.plans, str(stage), str(fold)) for fold in folds]
    if job.kind in ("best", "compare"):
        return list(trainings(study, data))
    return {"predict": [Job("best", data)], "evaluate": [Job("predict", data)]}.get(job.kind, [])


def last_jobs(study: Study, dataset: str) -> list[Job]:
    """What a data set's part of the study is for."""
    wanted = [Job("best", dataset)]
    if scans(dataset, "imagesTs"):
        wanted = [Job("evaluate" if scans(dataset, "labelsTs") else "predict", dataset)]
    return wanted + ([Job("compare", dataset)] if number_of_models(study) > 1 else [])


def number_of_models(study: Study) -> int:
    """Models of each data set."""
    return len(all_trainers(study)) * len(study.configurations) * len(study.plans)


def all_jobs(study: Study) -> list[Job]:
    """All jobs, each after those that it waits for."""
    found: dict[Job, None] = {}

    def add(job: Job) -> None:
        if job not in found:
            for other in needs(study, job):
                add(other)
            found[job] = None

    for dataset in study.datasets:
        for job in last_jobs(study, dataset):
            add(job)
    order = list(RECORDS)
    return sorted(found, key=lambda job: (study.datasets.index(job.dataset), order.index(job.kind)))


def records_of(jobs: list[Job]) -> list[str]:
    """Paths of their records, for Snakemake."""
    return [job.record for job in jobs]


def waits_for(study: Study, kind: str) -> Any:
    """Snakemake's input function of a rule."""

    def function(wildcards: Mapping[str, str]) -> list[str]:
        return records_of(needs(study, Job(kind, **dict(wildcards.items()))))

    return function

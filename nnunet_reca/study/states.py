"""How far each job is: by nnU-Net's own files, and by records of what a job depended on."""

import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_reca.results.logs import TrainingLog, read_logs
from nnunet_reca.study import nnunet
from nnunet_reca.study.jobs import Job, all_trainers, trainings
from nnunet_reca.study.locks import alive, held
from nnunet_reca.study.spec import Study

DONE, RUNNING, STARTED, TO_DO, STALE = "done", "running", "started", "to do", "changed"
#: seconds after which a running job of another machine that shows no sign of life is taken for dead
SILENCE = 180
#: of a configuration in plans, which a trainer may set itself
_ARCHITECTURE = ("architecture", "planned_architecture")


@dataclass(frozen=True)
class State:
    """How far a job is.

    Attributes:
        name: one of :data:`DONE` and the others.
        why: what is missing, or has changed.
    """

    name: str
    why: str = ""


def fold_folder(job: Job) -> Path:
    """nnU-Net's folder of a training."""
    return nnunet.results(job.dataset) / str(job.model) / f"fold_{job.fold}"


def lock_file(study_folder: Path, job: Job) -> Path:
    """What a job locks: the data set's plans, its data, the fold, the choice of the best, or its own outcome."""
    if job.kind in ("fingerprint", "plan"):
        return nnunet.preprocessed(job.dataset) / nnunet.OWN / "plans.lock"
    if job.kind == "preprocess":
        return data_lock(job)
    if job.kind == "train":
        return nnunet.results(job.dataset) / nnunet.OWN / f"{job.model}__fold_{job.fold}.lock"
    if job.kind == "best":
        return nnunet.results(job.dataset) / nnunet.OWN / "best.lock"
    return study_folder / "locks" / f"{job.dataset}_{job.kind}.lock"


def data_lock(job: Job) -> Path:
    """Lock of preprocessed data, which trainings share: preprocessing begins with removing what is there."""
    identifier = nnunet.data_identifier(job.dataset, job.plans, job.configuration)
    return nnunet.preprocessed(job.dataset) / nnunet.OWN / f"{identifier}.lock"


def state_of(study: Study, folder: Path, job: Job) -> State:
    """How far a job is.

    Args:
        folder: of the study.
    """
    missing = unfinished(study, folder, job)
    if missing is None:
        return State(DONE)
    if missing.name in (STARTED, TO_DO) and runs(folder, job):
        return State(RUNNING)
    return missing


def runs(folder: Path, job: Job) -> bool:
    """Whether some process has a job in its hands: on this machine by its lock, elsewhere by signs of life."""
    mark = folder / job.mark
    about = nnunet.content(mark)
    if isinstance(about, dict) and about.get("host") not in (None, os.uname().nodename):
        try:
            return time.time() - mark.stat().st_mtime < SILENCE
        except OSError:
            return False
    alone = job.kind in ("train", "predict", "evaluate", "compare")  # others share their lock
    return held(lock_file(folder, job)) if alone else _alive(about)


def _alive(about: Any) -> bool:
    return isinstance(about, dict) and isinstance(about.get("pid"), int) and alive(about["pid"])


def unfinished(study: Study, folder: Path, job: Job) -> State | None:
    """What a job lacks, None where it is done."""
    data = nnunet.preprocessed(job.dataset)
    if job.kind == "fingerprint":
        return None if nnunet.content(data / "dataset_fingerprint.json") else State(TO_DO)
    if job.kind == "plan":
        return None if nnunet.plans_content(job.dataset, job.plans) else State(TO_DO)
    if job.kind == "preprocess":
        return _preprocessing(job)
    if job.kind == "train":
        return _training(study, job)
    return _by_record(study, folder, job)


def _preprocessing(job: Job) -> State | None:
    stored = nnunet.stored_cases(job.dataset, job.plans, job.configuration)
    cases = nnunet.cases(job.dataset)
    ending = nnunet.dataset_json(job.dataset).get("file_ending", "")
    references = nnunet.preprocessed(job.dataset) / "gt_segmentations"
    if not stored:
        return State(TO_DO)
    lacking = [c for c in cases if c not in stored or not (references / f"{c}{ending}").is_file()]
    if lacking:
        return State(STARTED, f"{len(cases) - len(lacking)} of {len(cases)} cases")
    return None if nnunet.splits(job.dataset) else State(STARTED, "the split is missing")


def _training(study: Study, job: Job) -> State | None:
    fold = fold_folder(job)
    if not fold.is_dir():
        return State(TO_DO)
    if changed := changed_plans(job):
        return State(STALE, f"trained with other plans: {changed}")
    if not nnunet.whole_checkpoint(fold / nnunet.FINAL):
        log = logs_of(fold)
        at = f"epoch {max(log.epochs)}" if log.epochs else ""
        return State(STARTED, at) if any((fold / c).is_file() for c in nnunet.CHECKPOINTS) or at else State(TO_DO)
    ending = str(nnunet.dataset_json(job.dataset).get("file_ending", ""))
    validated = nnunet.validated_cases(fold, ending)
    if validated is None:
        return State(STARTED, "trained, not validated")
    if study.ensembles and not all((fold / "validation" / f"{case}.npz").is_file() for case in validated):
        return State(STARTED, "validated without probabilities")
    for stage in _next_stages(study, job):
        handed = fold.parent / "predicted_next_stage" / stage
        if not all(any(handed.glob(f"{case}.*")) for case in validated):
            return State(STARTED, f"no predictions for {stage}")
    return None


def _next_stages(study: Study, job: Job) -> list[str]:
    """Cascades of the study that are trained on predictions of this training's configuration."""
    configurations = (nnunet.plans_content(job.dataset, job.plans) or {}).get("configurations", {})
    return [
        name for name in study.configurations if configurations.get(name, {}).get("previous_stage") == job.configuration
    ]


def logs_of(fold: Path) -> TrainingLog:
    """A fold's logs, read again only where they have grown."""
    signature = tuple((file.name, file.stat().st_size) for file in sorted(fold.glob("training_log_*.txt")))
    known = _LOGS.get(fold)
    if known is None or known[0] != signature:
        _LOGS[fold] = known = (signature, read_logs(fold))
    return known[1]


_LOGS: dict[Path, tuple[Any, TrainingLog]] = {}


def changed_plans(job: Job) -> str:
    """In what the plans of a trained model differ from those of the preprocessed data; empty where in nothing.

    What a trainer sets itself does not count: the network where it is not the planned one.
    """
    now = nnunet.plans_content(job.dataset, job.plans)
    then = nnunet.content(fold_folder(job).parent / "plans.json")
    if now is None or not isinstance(then, dict) or job.configuration not in then.get("configurations", {}):
        return ""
    first, second = (nnunet.resolved(plans, job.configuration) for plans in (then, now))
    ours = "planned_architecture" in first
    planned, present = (
        (first.get("planned_architecture") if ours else first.get("architecture")),
        second.get("architecture"),
    )
    keys = sorted({*first, *second} - set(_ARCHITECTURE))
    found = [f"{key} {first.get(key)} -> {second.get(key)}" for key in keys if first.get(key) != second.get(key)]
    if planned != present and (ours or _network(planned) == _network(present)):
        found.append("architecture")
    return ", ".join(found)


def _network(architecture: Any) -> Any:
    return architecture.get("network_class_name") if isinstance(architecture, Mapping) else None


#: what a job leaves in the study's folder, below the data set's
OUTCOMES = {
    "best": "inference_information.json",
    "predict": "predictions",
    "evaluate": "evaluation.json",
    "compare": "comparison/report.html",
}


def outcome(folder: Path, job: Job) -> Path:
    """What a job leaves in the study's folder."""
    return folder / job.dataset / OUTCOMES[job.kind]


def _by_record(study: Study, folder: Path, job: Job) -> State | None:
    """Of a step that is cheap to repeat: done where its record says that it depended on what is there now."""
    record = nnunet.content(folder / job.record)
    if not isinstance(record, dict) or not outcome(folder, job).exists():
        return State(TO_DO)
    before, now = record.get("depends", {}), depends(study, folder, job)
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    return State(STALE, f"other {' and '.join(keys)}") if keys else None


def depends(study: Study, folder: Path, job: Job) -> dict[str, Any]:
    """What a job depends on, by name; empty for those that nnU-Net's own files tell about."""
    if job.kind in ("best", "compare"):
        asked: dict[str, Any] = {
            "trainers": all_trainers(study),
            "configurations": list(study.configurations),
            "plans": list(study.plans),
            "folds": list(study.folds),
        }
        if job.kind == "best":
            asked["ensembles"] = study.ensembles
        summaries = [
            fold_folder(training) / "validation" / "summary.json" for training in trainings(study, job.dataset)
        ]
        return {**asked, "validations": _hash(*summaries)}
    if job.kind == "predict":
        best = outcome(folder, Job("best", job.dataset))
        return {"best configuration": _hash(best), "scans": nnunet.scans(job.dataset, "imagesTs")}
    if job.kind == "evaluate":
        predicted = nnunet.content(folder / Job("predict", job.dataset).record) or {}
        return {"predictions": predicted.get("finished"), "references": nnunet.scans(job.dataset, "labelsTs")}
    return {}


def _hash(*files: Path) -> str:
    found = hashlib.sha256()
    for file in files:
        found.update(file.read_bytes() if file.is_file() else b"none")
    return found.hexdigest()[:16]

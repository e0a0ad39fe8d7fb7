"""What a study's jobs are doing, in lines: running trainings, tables, and what failed."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunet_reca.results.logs import TrainingLog
from nnunet_reca.study import nnunet
from nnunet_reca.study.guard import tail
from nnunet_reca.study.jobs import Job, all_jobs, epochs_of, last_jobs, needs
from nnunet_reca.study.spec import Study
from nnunet_reca.study.states import DONE, OUTCOMES, RUNNING, STALE, State, fold_folder, logs_of, state_of
from nnunet_reca.trainers.seeds import split_seed

States = Mapping[Job, State]
#: epochs at the end of a log whose mean time tells how long an epoch takes
LATEST = 20


def states_of(study: Study, folder: Path) -> dict[Job, State]:
    """How far all jobs of a study are.

    What is only made for others that are done counts as done: preprocessed data may go when the trainings are there.
    What is made from others is not done before they are.
    """
    states = {job: state_of(study, folder, job) for job in all_jobs(study)}
    for job in states:
        unfinished = [other for other in needs(study, job) if states[other].name != DONE]
        if job.kind in OUTCOMES and states[job].name == DONE and unfinished:
            states[job] = State(STALE, f"made before {unfinished[0]}")
    open_jobs = [job for dataset in study.datasets for job in last_jobs(study, dataset) if states[job].name != DONE]
    wanted = set(open_jobs)
    while open_jobs:
        more = {o for o in needs(study, open_jobs.pop()) if states[o].name != DONE} - wanted
        wanted |= more
        open_jobs += more
    return {job: state if job in wanted else State(DONE) for job, state in states.items()}


def training_line(job: Job) -> str:
    """Epoch of epochs, pseudo Dice and time left of a training."""
    log, total = logs_of(fold_folder(job)), epochs_of(job.trainer)
    if not log.epochs:
        return f"{job.short}: starts"
    epoch = max(log.epochs)
    whole = [e for e in log.epochs.values() if e.pseudo_dice]
    parts = [f"epoch {epoch + 1} of {total}"]
    if whole:
        known = [dice for dice in whole[-1].pseudo_dice if not math.isnan(dice)]
        parts.append(f"pseudo Dice {statistics.fmean(known):.3f}" if known else "pseudo Dice unknown")
    each = seconds_per_epoch([job])
    if log.finished:
        parts.append("validation")
    elif each is not None:
        parts.append(f"{duration(each * max(0, total - _completed(log)))} left")
    return f"{job.short}: {', '.join(parts)}"


def seconds_per_epoch(jobs: Iterable[Job]) -> float | None:
    """Mean time of the latest epochs of trainings, None where no log tells it."""
    times: list[float] = []
    for job in jobs:
        log = logs_of(fold_folder(job))
        times += [epoch.seconds for epoch in log.epochs.values() if epoch.seconds is not None][-LATEST:]
    return statistics.fmean(times) if times else None


def seconds_left(job: Job, state: State, jobs: Sequence[Job]) -> float | None:
    """Time that a training will take yet, from its own epochs or those of other folds and seeds of its model."""
    same = [other for other in jobs if _model(other) == _model(job)]
    each = seconds_per_epoch([job])
    each = seconds_per_epoch(same) if each is None else each
    if each is None:
        return None
    done = _completed(logs_of(fold_folder(job))) if state.name != STALE else 0
    return each * max(0, epochs_of(job.trainer) - done)


def _completed(log: TrainingLog) -> int:
    """Epochs that a training has ended."""
    return 1 + max((number for number, epoch in log.epochs.items() if epoch.seconds is not None), default=-1)


def _model(job: Job) -> tuple[str, ...]:
    return job.kind, job.dataset, split_seed(job.trainer)[0], job.plans, job.configuration


def duration(seconds: float) -> str:
    """A time in the two largest units."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def table(states: States, side_by_side: int = 1) -> list[str]:
    """A line for each job: what it is, how far, and how long it will take, and their sum.

    Args:
        side_by_side: trainings that run at a time.
    """
    jobs = list(states)
    rows, total, unknown = [], 0.0, 0
    for job, state in states.items():
        time = ""
        if job.kind == "train" and state.name != DONE:
            left = seconds_left(job, state, jobs)
            time = "unknown" if left is None else duration(left)
            total, unknown = total + (left or 0), unknown + (left is None)
        rows.append((str(job), f"{state.name}{f' ({state.why})' if state.why else ''}", time))
    width = [max(len(row[i]) for row in [*rows, ("job", "state", "")]) for i in range(2)]
    lines = [f"{'job':{width[0]}}  {'state':{width[1]}}  time"]
    lines += [f"{name:{width[0]}}  {state:{width[1]}}  {time}".rstrip() for name, state, time in rows]
    return [*lines, "", _sum(states, total, unknown, side_by_side)]


def _sum(states: States, total: float, unknown: int, side_by_side: int) -> str:
    left = sum(state.name != DONE for state in states.values())
    text = f"{len(states)} jobs: {len(states) - left} done, {left} to run"
    trainings = sum(job.kind == "train" and state.name != DONE for job, state in states.items())
    if trainings:
        at_a_time = min(side_by_side, trainings)
        faster = f", about {duration(total / at_a_time)} with {at_a_time} at a time" if at_a_time > 1 else ""
        known = f"{duration(total)} of training{faster}" if trainings > unknown else ""
        lacking = (
            f"the time of {unknown} trainings is unknown until an epoch of their models has run" if unknown else ""
        )
        text += f"; {'; '.join(filter(None, [known, lacking]))}"
    return text


def running_lines(states: States) -> list[str]:
    """A line for each job that runs."""
    running = [job for job, state in states.items() if state.name == RUNNING]
    return [training_line(job) if job.kind == "train" else f"{job}: runs" for job in running]


def counts(states: States) -> str:
    """How many jobs are how far."""
    found = Counter(state.name for state in states.values())
    return ", ".join(f"{number} {name}" for name, number in found.most_common())


def failures(study: Study, folder: Path, states: States) -> list[str]:
    """Which jobs failed, with the last lines of their logs, and which were not started for that."""
    lines: list[str] = []
    failed = [job for job, state in states.items() if state.name != DONE and failure_of(folder, job)]
    for job in failed:
        about = failure_of(folder, job)
        attempts = about.get("attempts", 1)
        often = f" after {attempts} attempts" if attempts > 1 else ""
        lines += [f"failed{often}: {job}: {about.get('why', '')}", f"  {folder / job.log}", tail(folder / job.log)]
    stopped = set(failed)
    for job, state in states.items():  # each after those that it waits for
        blocking = [other for other in needs(study, job) if other in stopped]
        if blocking and state.name not in (DONE, RUNNING):
            stopped.add(job)
            more = f" and {len(blocking) - 1} more" if len(blocking) > 1 else ""
            lines.append(f"not started: {job}: waits for {blocking[0]}{more}")
    return lines


def failure_of(folder: Path, job: Job) -> dict[str, Any]:
    """What a job's guard wrote of its failed attempts, empty where none failed."""
    about = nnunet.content(folder / job.failure)
    return about if isinstance(about, dict) else {}

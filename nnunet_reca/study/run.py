"""Runs a study: checks it, compares records with nnU-Net's files, and lets Snakemake do what is left."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from nnunet_reca.results.problems import Problems
from nnunet_reca.study import nnunet
from nnunet_reca.study.checks import check
from nnunet_reca.study.cluster import cancel_waiting, on_slurm
from nnunet_reca.study.display import Display
from nnunet_reca.study.engine import Request, command, environment, side_by_side
from nnunet_reca.study.guard import tail
from nnunet_reca.study.jobs import Job, all_jobs
from nnunet_reca.study.locks import PATIENCE, grasp
from nnunet_reca.study.progress import States, counts, failures, running_lines, states_of, table
from nnunet_reca.study.spec import FILE, Study, differences, read_study, study_of, text_of, versions
from nnunet_reca.study.states import DONE, RUNNING, STALE, depends, outcome, runs
from nnunet_reca.study.steps import put_aside

#: seconds that Snakemake has to end its jobs when the study is stopped, until it is told with more emphasis
GRACE = 40


def show(request: Request, say: Callable[[str], None]) -> int:
    """Say what would run; nothing is written."""
    study = study_of(request.content)
    check(study, request.folder, local=request.local, snakemake=request.snakemake)
    states = states_of(study, request.folder)
    for line in [*_changes(request.folder, study), *table(states, side_by_side(study, request))]:
        say(line)
    return 0


def status(request: Request, say: Callable[[str], None]) -> int:
    """Say how far a study is, which may run elsewhere."""
    study = study_of(request.content)
    states = states_of(study, request.folder)
    for line in [*table(states), *running_lines(states), *failures(study, request.folder, states), counts(states)]:
        say(line)
    return 0


def run(request: Request, say: Callable[[str], None]) -> int:
    """Run a study, or go on with it.

    Returns:
        0 if all is done, 1 if not, 130 if it was stopped.

    Raises:
        ValueError: if it cannot start; nothing is written then.
    """
    study = study_of(request.content)
    check(study, request.folder, local=request.local, snakemake=request.snakemake)
    if not request.repeat_trainings:
        _refuse(_changed_trainings(states_of(study, request.folder)))
    lock = _lock(study, request, say)
    if lock is None:
        return 130
    try:
        for line in _changes(request.folder, study):
            say(line)
        _write(request.folder, study)
        states = _reconcile(study, request, say)
        if all(state.name == DONE for state in states.values()):
            say(f"all {len(states)} jobs are done")
            return _conclude(study, request.folder, states, 0, say)
        if on_slurm(request.snakemake) and (waiting := cancel_waiting(request.folder)):
            say(f"cancelled, to be submitted anew: jobs of an earlier run that have not started, {' '.join(waiting)}")
        return _execute(study, request, states, lock, say)
    finally:
        os.close(lock)


def _lock(study: Study, request: Request, say: Callable[[str], None]) -> int | None:
    """The study's lock; where a run of it is going on, it is followed until it ends. None if that was stopped."""
    file = request.folder / "locks" / "study.lock"
    lock = grasp(file)
    if lock is not None:
        return lock
    say(f"the study in {request.folder} runs already; this follows it (Ctrl-C ends the following only)")
    try:
        with Display(study, request.folder, all_jobs(study)) as display:
            while (lock := grasp(file)) is None:
                display.update()
                time.sleep(PATIENCE)
    except KeyboardInterrupt:
        return None
    return lock


def _changed_trainings(states: States) -> dict[Job, str]:
    """Trainings that were made with other plans, and what is different."""
    return {job: state.why for job, state in states.items() if job.kind == "train" and state.name == STALE}


def _refuse(changed: Mapping[Job, str]) -> None:
    if changed:
        remedy = "say --repeat_trainings to put these models aside, into replaced/ beside them, and train them anew"
        raise Problems([f"{job}: {why}" for job, why in changed.items()] + [remedy], "trainings would be repeated")


def _changes(folder: Path, study: Study) -> list[str]:
    """What this call changes in the study, a line for each entry."""
    if not (folder / FILE).is_file():
        return []
    before = study_of(read_study(folder / FILE))
    lines = [f"changed: {line}" for line in differences(before, replace(study, versions=before.versions))]
    now = versions()
    others = [f"{name} {now[name]} (was {old})" for name, old in before.versions.items() if now.get(name, old) != old]
    return lines + ([f"other versions than before: {', '.join(others)}"] if others else [])


def _write(folder: Path, study: Study) -> None:
    """study.yaml; one that says the same already stays as its user wrote it."""
    file = folder / FILE
    if file.is_file():
        before = study_of(read_study(file))
        if replace(before, versions={}) == replace(study, versions={}):
            if not before.versions:
                import yaml

                text = file.read_text(encoding="utf-8")
                nnunet.write_whole(file, text + "\n" + yaml.safe_dump({"versions": versions()}))
            return
        shutil.copyfile(file, file.with_name(f"{FILE}.before"))
    nnunet.write_whole(file, text_of(replace(study, versions=versions())))


def _reconcile(study: Study, request: Request, say: Callable[[str], None]) -> States:
    """Records as nnU-Net's files have it: of what is done, by whomever, and of nothing else."""
    folder = request.folder
    shutil.rmtree(folder / "failed", ignore_errors=True)
    states = states_of(study, folder)
    changed = _changed_trainings(states)
    running = [
        f"{job}: is running, with the plans of before; wait for it, or end it" for job in changed if runs(folder, job)
    ]
    if running:
        raise Problems(running, "nothing was put aside")
    models = {(job.dataset, job.model): job for job in changed}
    for job in models.values():  # which the user has asked for
        say(f"put aside: {job.model}, now {put_aside(job)}")
    if models:
        states = states_of(study, folder)
    for job, state in states.items():
        record = folder / job.record
        if state.name == DONE:
            if not record.is_file():
                entries = {"job": str(job), "found": "done before", "depends": depends(study, folder, job)}
                nnunet.write_record(record, entries)
            continue
        if state.name == STALE:
            say(f"repeats: {job}: {state.why}")
        elif record.is_file():
            say(f"goes back to: {job}: {state.why or 'its files are gone'}")
        record.unlink(missing_ok=True)
    return states


def _execute(study: Study, request: Request, states: States, lock: int, say: Callable[[str], None]) -> int:
    """Let Snakemake run, in a session of its own that inherits the lock, and show what it does."""
    log = request.folder / "logs" / "snakemake.log"
    log.parent.mkdir(exist_ok=True)
    with open(log, "ab") as stream:
        process = subprocess.Popen(
            command(study, request),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment(study, request),
            pass_fds=(lock,),
            start_new_session=True,
        )
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Display(study, request.folder, list(states)) as display:
            while process.poll() is None:
                display.update()
                time.sleep(PATIENCE)
    except KeyboardInterrupt:
        _stop(process)
        say("stopped; the same command goes on")
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
    after = states_of(study, request.folder)
    return _conclude(study, request.folder, after, process.returncode, say)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Ask Snakemake and the jobs of this machine to end, and see to it that they do."""
    for number, patience in ((signal.SIGINT, GRACE), (signal.SIGTERM, GRACE), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, number)
            process.wait(patience)
            return
        except ProcessLookupError:
            return
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            continue


def _conclude(study: Study, folder: Path, states: States, status: int, say: Callable[[str], None]) -> int:
    """The end of a run: where the pages are, or what failed and why."""
    left = [job for job, state in states.items() if state.name != DONE]
    for dataset in study.datasets:
        page = outcome(folder, Job("compare", dataset))
        if page.is_file() and not any(job.dataset == dataset for job in left):
            say(f"page: {page}")
    if not left:
        return 0
    lines = failures(study, folder, states)
    for line in lines:
        say(line)
    if not any(line.startswith("failed") for line in lines):
        log = folder / "logs" / "snakemake.log"
        running = any(states[job].name == RUNNING for job in left)
        say("jobs of an earlier run go on" if running else f"Snakemake ended with {status}:\n  {log}\n{tail(log)}")
    say(f"{len(left)} of {len(states)} jobs are not done; the same command goes on with them")
    return 1

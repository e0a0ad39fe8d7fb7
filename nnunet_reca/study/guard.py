"""What stands around each job's command: ``python -m nnunet_reca.study.guard RECORD --threads N -- COMMAND``.

It waits for whoever is at the same job already, does nothing where nnU-Net's files show it done, takes a free device,
runs the command with its output in the job's log, and writes the record when nnU-Net's files show that all is there.
Only the record is Snakemake's: files of nnU-Net are never in danger when a job fails.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nnunet_reca.study import nnunet, steps
from nnunet_reca.study.jobs import Job, job_of
from nnunet_reca.study.locks import sign, take_devices, wait_for
from nnunet_reca.study.spec import FILE, ON_DEVICE, Study, read_study, study_of
from nnunet_reca.study.states import OUTCOMES, STALE, data_lock, depends, lock_file, outcome, unfinished
from nnunet_reca.trainers.variables import THREADS_VARIABLE

#: JSON that the command sets for jobs on its own machine: where that is, and which devices they may take
LOCAL = "NNUNET_RECA_STUDY_LOCAL"
#: lines of a failed command's output that are shown
TAIL = 15
#: seconds between signs of life, and for a command to end by itself when it is told to
HEARTBEAT, GRACE = 30, 20
_BATCH = ("SLURM_JOB_ID", "LSB_JOBID", "PBS_JOBID", "JOB_ID", "KUBERNETES_SERVICE_HOST")


def place() -> list[str | None]:
    """Machine and batch job of this process."""
    return [os.uname().nodename, *(os.environ.get(name) for name in _BATCH)]


class Stopped(Exception):
    """A signal asked the job to end."""


def main(arguments: list[str] | None = None) -> int:
    """Run one job in the study's folder, which is the working directory.

    Returns:
        The command's exit status, 0 where nothing was to do, 1 where the command left its work undone.
    """
    parser = argparse.ArgumentParser(prog="python -m nnunet_reca.study.guard", allow_abbrev=False)
    parser.add_argument("record")
    parser.add_argument("--threads", type=int, default=1)
    words = sys.argv[1:] if arguments is None else arguments
    end = words.index("--") if "--" in words else len(words)
    options, command = parser.parse_args(words[:end]), words[end + 1 :]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN or number == signal.SIGINT:  # nohup ignores the end of a terminal
            signal.signal(number, _stop)
    folder = Path.cwd()
    return Guard(study_of(read_study(folder / FILE)), folder, job_of(options.record), options.threads).run(command)


def _stop(number: int, frame: Any) -> None:
    raise Stopped(f"ended by {signal.Signals(number).name}")


class Guard:
    """One job, from its lock to its record.

    Args:
        study: what is asked for.
        folder: of the study.
        job: to run.
        threads: cores that it may use.
    """

    def __init__(self, study: Study, folder: Path, job: Job, threads: int) -> None:
        self.study, self.folder, self.job, self.threads = study, folder, job, threads
        self.record, self.log = folder / job.record, folder / job.log
        self.failure = folder / job.failure
        self.mark = folder / job.mark
        self.started = time.time()
        self.log.parent.mkdir(parents=True, exist_ok=True)

    def run(self, command: Sequence[str]) -> int:
        """Run the command where that is needed; see :func:`main`."""
        try:
            with self._alive():
                lock = wait_for(
                    lock_file(self.folder, self.job), lambda: self._note("waits: another process has this in its hands")
                )
                steps.mend(self.job)
                missing = unfinished(self.study, self.folder, self.job)
                if missing is None:
                    self._note("is done already, nothing was run")
                    self._finish([], 0.0)
                    return 0
                if self.job.kind == "train" and missing.name == STALE:
                    return self._fail(1, missing.why)
                return self._attempt(command, lock)
        except (Stopped, ValueError, OSError) as error:
            return self._fail(1, f"{error}")

    def _attempt(self, command: Sequence[str], lock: int) -> int:
        command = steps.command_of(self.job, command, self._note)
        environment = self._environment()
        own, shared = [lock], []
        if self.job.kind == "train":
            shared = [wait_for(data_lock(self.job), lambda: self._note("waits for its data"), shared=True)]
        local = json.loads(environment.get(LOCAL, "{}"))
        if self.job.kind in ON_DEVICE and local.get("place") == place() and local.get("gpus"):
            number = int(self.study.resources(self.job.kind).get("gpu", 1))
            names, devices = take_devices(
                local["gpus"], number, local.get("slots", 1), lambda: self._note("waits for a free GPU")
            )
            own += devices
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(names)
            self._note(f"has GPU {', '.join(names)}")
        begin = time.time()
        status = self._execute(command, environment, own, shared)
        if status:
            return self._fail(status, f"ended with {status if status > 0 else signal.Signals(-status).name}")
        steps.complete(self.study, self.folder, self.job)
        if self.job.kind not in OUTCOMES:
            missing = unfinished(self.study, self.folder, self.job)
            if missing is not None:
                return self._fail(1, f"the command ended, but {missing.why or 'left nothing'}")
        elif not outcome(self.folder, self.job).exists():
            return self._fail(1, f"the command ended, but {outcome(self.folder, self.job)} is not there")
        self._finish(command, time.time() - begin)
        return 0

    def _environment(self) -> dict[str, str]:
        """The environment of a command: cores for it alone, and what the study sets for all jobs."""
        cpu = self.study.device == "cpu"
        workers = max(1, self.threads // 2 if cpu else self.threads - 1)
        cores = {
            "nnUNet_n_proc_DA": str(min(12, workers)),
            "nnUNet_def_n_proc": str(min(8, self.threads)),
            THREADS_VARIABLE: str(self.threads),
            "PYTHON_CPU_COUNT": str(self.threads),  # what nnU-Net's -device cpu asks for, from Python 3.13 on
        }
        # Snakemake sets these to the cores of the job, which would be each worker's
        each = dict.fromkeys(
            ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(self.threads if cpu else 1)
        )
        environment = {**cores, **os.environ, **each, "PYTHONUNBUFFERED": "1", **self.study.environment}
        if self.job.kind != "train" and environment["nnUNet_n_proc_DA"] == "0":  # of which planning makes an error
            environment["nnUNet_n_proc_DA"] = "1"
        return environment

    def _execute(
        self, command: Sequence[str], environment: dict[str, str], own: Sequence[int], shared: Sequence[int]
    ) -> int:
        """Run a command in a process group of its own; whatever it leaves running ends with it.

        Args:
            own: locks that the command inherits and nobody shares.
            shared: locks that it inherits and others share.
        """
        with open(self.log, "a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(command)}\n")
            log.flush()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=(*own, *shared),
                start_new_session=True,
            )
        for lock in own:
            sign(lock, process.pid)
        try:
            return process.wait()
        except Stopped:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired, Stopped):
                process.wait(GRACE)
            raise
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # workers of a killed training would never end
            process.wait()

    @contextlib.contextmanager
    def _alive(self) -> Iterator[None]:
        """Signs of life for others, on this machine and elsewhere, for as long as the job lasts."""
        over = threading.Event()
        about = {"host": place()[0], "pid": os.getpid(), "started": self.started}
        nnunet.write_record(self.mark, about)

        def beat() -> None:
            while not over.wait(HEARTBEAT):
                with contextlib.suppress(OSError):
                    os.utime(self.mark)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            with contextlib.suppress(OSError):
                self.mark.unlink()

    def _finish(self, command: Sequence[str], seconds: float) -> None:
        entries = {
            "job": str(self.job),
            "command": list(command),
            "seconds": round(seconds, 1),
            "finished": time.strftime("%Y-%m-%d %H:%M:%S"),
            "host": place()[0],
            "depends": depends(self.study, self.folder, self.job),
        }
        nnunet.write_record(self.record, entries)
        with contextlib.suppress(OSError):
            self.failure.unlink()

    def _fail(self, status: int, why: str) -> int:
        self._note(f"failed: {why}")
        before = nnunet.content(self.failure) or {}
        entries = {"job": str(self.job), "why": why, "status": status, "attempts": before.get("attempts", 0) + 1}
        nnunet.write_record(self.failure, entries)
        sys.stderr.write(f"{self.job}: {why}\n{tail(self.log)}\n")
        return status if status > 0 else 128 - status

    def _note(self, text: str) -> None:
        with open(self.log, "a", encoding="utf-8") as log:
            log.write(f"# {time.strftime('%Y-%m-%d %H:%M:%S')} {place()[0]}: {text}\n")


def tail(file: Path, lines: int = TAIL) -> str:
    """Last lines of a file that may be long."""
    try:
        with open(file, "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - 300 * lines))
            text = stream.read().decode("utf-8", "replace")
    except OSError as error:
        return f"{file} cannot be read: {error.strerror}"
    return "\n".join(f"  | {line}" for line in text.replace("\r", "\n").splitlines()[-lines:])


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python
"""A small study through a real SLURM, with kills on the way; run by hand, as root: ``--help`` says more.

Two twins x two folds x two seeds, tiny and short, on the example data. On the way one job is cancelled, one training is
killed, one job is taken back into the queue as if it were pre-empted, and the command itself is killed while a job of
its run trains; then the same command goes on. The study must reach its page, without two processes at one training and
without a change to a training that was done.
"""

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from slurm_cluster import Cluster, missing

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "examples" / "Dataset004_Hippocampus"
DATASET = SOURCE.name
STUDY = """\
datasets: [{dataset}]
trainers: [nnUNetTrainerSwinUNETR_tiny_{epochs}epochs, nnUNetTrainerSwinUNETRReca_tiny_{epochs}epochs]
configurations: [3d_fullres]
folds: [0, 1]
seeds: [0, 1]
device: cpu
steps:  # requests that the node of the test can meet; its GPUs are pretended, to see that each training gets its own
  fingerprint: {{threads: 1, mem_mb: 2000, runtime: 30}}
  plan: {{threads: 1, mem_mb: 2000, runtime: 30}}
  preprocess: {{threads: 1, mem_mb: 2000, runtime: 30}}
  train: {{threads: 1, mem_mb: 4000, runtime: 60, gpu: 1}}
  best: {{threads: 1, mem_mb: 4000, runtime: 30}}
  predict: {{threads: 1, mem_mb: 4000, runtime: 30}}
  evaluate: {{threads: 1, mem_mb: 2000, runtime: 30}}
  compare: {{threads: 1, mem_mb: 4000, runtime: 30}}
environment:
  nnUNet_reca_iterations_per_epoch: "{iterations}"
"""
TRAININGS = 8


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def expect(truth: bool, what: str) -> None:
    """Say what holds, and stop where it does not."""
    say(f"{'ok' if truth else 'WRONG'}: {what}")
    if not truth:
        raise SystemExit(1)


@dataclass(frozen=True)
class Training:
    """A process of nnUNetv2_train: its fold's name, its id, SLURM's, and the GPUs it was given."""

    name: str
    process: int
    job: str
    gpus: str


def parent_of(process: int) -> int:
    """Of a process; 0 where it has ended."""
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def files_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Time of change in ns and size of every file below a folder."""
    found = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            status = file.stat()
            found[str(file.relative_to(folder))] = (status.st_mtime_ns, status.st_size)
    return found


@dataclass
class Scenario:
    """The study in its folder, and what is seen of it.

    Attributes:
        work: folder of data, study and cluster.
        cluster: that runs.
        done: files of each training, taken when its record was first seen.
        states: latest state of each SLURM job.
        gpus: that trainings were seen with.
    """

    work: Path
    cluster: Cluster
    options: list[str]
    done: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    gpus: set[str] = field(default_factory=set)
    command: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        folders = {f"nnUNet_{name}": str(self.work / name) for name in ("raw", "preprocessed", "results")}
        return {**self.cluster.environment, **folders}

    def fold(self, name: str) -> Path:
        trainer, fold = name.split(" fold ")
        return self.work / "results" / DATASET / f"{trainer}__nnUNetPlans__3d_fullres" / f"fold_{fold}"

    def start(self) -> None:
        """Start the command, in a session of its own so that it can be killed with all that it started here."""
        words = ["nnUNetv2_reca_study", str(self.work / "study" / "study.yaml"), "--executor", "slurm", *self.options]
        with (self.work / "study.log").open("ab") as log:
            self.command = subprocess.Popen(
                words, cwd=self.work, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        say(f"started: {' '.join(words)}")

    def kill(self) -> None:
        """Kill the command with the Snakemake that it started; the jobs are children of SLURM."""
        assert self.command
        doomed = {self.command.pid}
        for _ in range(5):  # generations
            doomed |= {process for process in self.cluster.processes() if parent_of(process) in doomed}
        for process in doomed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.command.wait()
        self.command = None

    def look(self) -> list[Training]:
        """Look at jobs and processes, say what changed; the trainings that run."""
        for number, (state, comment) in self.cluster.jobs().items():
            if self.states.get(number) != state:
                self.states[number] = state
                if state != "COMPLETING":
                    say(f"  job {number} {state.lower()}: {comment}")
        records = self.work / "study" / "records" / DATASET / "train"
        for record in sorted(records.glob("*/*/*/fold_*.json")):
            name = f"{record.parts[-4]} fold {record.stem.removeprefix('fold_')}"
            if name not in self.done:
                self.done[name] = files_of(self.fold(name))
                say(f"  trained: {name}")
        running = self.trainings()
        twice = [name for name, number in Counter(training.name for training in running).items() if number > 1]
        if twice:
            expect(False, f"one process at a training, but {twice[0]} has several")
        self.gpus |= {training.gpus for training in running}
        return running

    def trainings(self) -> list[Training]:
        """Processes of nnUNetv2_train, workers of their own aside."""
        found = []
        for process, environment in self.cluster.processes().items():
            try:
                words = Path(f"/proc/{process}/cmdline").read_bytes().decode().split("\0")
                if os.getsid(process) != process:  # a worker; the guard gives each training a session of its own
                    continue
            except OSError:  # ended meanwhile
                continue
            at = next((i for i, word in enumerate(words[:3]) if Path(word).name == "nnUNetv2_train"), None)
            if at is not None:
                name = f"{words[words.index('-tr') + 1]} fold {words[at + 3]}"
                gpus = environment.get("CUDA_VISIBLE_DEVICES", "none")
                found.append(Training(name, process, environment.get("SLURM_JOB_ID", ""), gpus))
        return found

    def waiting(self) -> set[str]:
        """SLURM jobs that wait for resources."""
        return {number for number, (state, _) in self.cluster.jobs("pending").items()}

    def wait(self, what: str, ready: Callable[[list[Training]], object], minutes: float = 45) -> list[Training]:
        """Look every second until something is so."""
        end = time.monotonic() + 60 * minutes
        while True:
            ended = self.command is not None and self.command.poll() is not None
            running = self.look()
            if ready(running):
                return running
            if ended or time.monotonic() > end:
                lines = (self.work / "study.log").read_text(errors="replace").splitlines()[-40:]
                print("\n".join(lines), file=sys.stderr)
                raise SystemExit(f"study_on_slurm.py: waited in vain for {what}; the command's last lines are above")
            time.sleep(1)

    def victim(self, what: str, spared: set[str]) -> Training:
        """A training that runs and has a checkpoint, once another one is done."""

        def chosen(running: list[Training]) -> list[Training]:
            with_checkpoint = [t for t in running if (self.fold(t.name) / "checkpoint_best.pth").exists()]
            return [t for t in with_checkpoint if t.name not in spared and self.done]

        return chosen(self.wait(what, chosen))[0]

    def epochs(self, name: str) -> list[int]:
        """Epochs of a training in the order in which they began, over all its logs."""
        logs = sorted(self.fold(name).glob("training_log_*.txt"))
        return [int(epoch) for log in logs for epoch in re.findall(r"Epoch (\d+)", log.read_text())]

    def run(self) -> None:
        """The scenario; SystemExit where something is not as it must be."""
        self.start()
        first = self.victim("a training to cancel", set())
        say(f"scancel {first.job}: {first.name}, in epoch {self.epochs(first.name)[-1]}")
        self.cluster.ask("scancel", first.job)
        self.wait("the cancelled training to end", lambda running: first.process not in {t.process for t in running})
        second = self.victim("a training to kill", {first.name})
        say(f"kill -9 {second.process}: {second.name}, in epoch {self.epochs(second.name)[-1]}")
        os.kill(second.process, signal.SIGKILL)
        taken = self.victim("a training to pre-empt", {first.name, second.name})
        say(f"scontrol requeue {taken.job}: {taken.name}, in epoch {self.epochs(taken.name)[-1]}")
        self.cluster.ask("scontrol", "requeue", taken.job)
        self.wait("the pre-empted training to end", lambda running: taken.process not in {t.process for t in running})
        third = self.victim("a training to run on without the command", {first.name, second.name, taken.name})
        self.wait("another job to wait in the queue", lambda running: self.waiting())
        say(f"kill -9 of the command and its Snakemake, while job {third.job} trains {third.name}")
        self.kill()
        time.sleep(5)
        expect(any(t.process == third.process for t in self.look()), "the job goes on without the command")
        left = self.waiting()
        expect(bool(left), f"job {' '.join(sorted(left))} is in the queue without the command")
        self.start()
        self.wait("the study to complete", lambda running: self.command and self.command.poll() == 0)
        ended = {self.states[number] for number in left}
        expect(ended == {"CANCELLED"}, "jobs that the killed command had left in the queue were cancelled")
        self.check({first.name, second.name, taken.name}, third)
        submitted = len(self.states)
        self.start()
        self.wait("the command to see that all is done", lambda running: self.command and self.command.poll() == 0, 5)
        expect(len(self.states) == submitted, "the same command once more submits nothing")
        self.unchanged()

    def check(self, killed: set[str], going: Training) -> None:
        """What must be so at the end."""
        expect(len(self.done) == TRAININGS, f"{TRAININGS} trainings are done, {len(self.done)} seen")
        for name in sorted(self.done):
            epochs = self.epochs(name)
            again = len(epochs) - len(set(epochs))
            say(f"  {name}: epochs {' '.join(map(str, epochs))}")
            if name in killed:
                expect(again <= 2, f"it went on from its checkpoint, {again} epochs were repeated")
            else:
                expect(again == 0, "each epoch was trained once")
        expect(self.epochs(going.name)[-1] == max(self.epochs(going.name)), f"{going.name} was not begun anew")
        page = self.work / "study" / DATASET / "comparison" / "report.html"
        expect(page.is_file(), f"the page is there, {page.stat().st_size // 1024 if page.is_file() else 0} KiB")
        expect(
            "none" not in self.gpus and len(self.gpus) > 0, f"each training had a GPU: {', '.join(sorted(self.gpus))}"
        )
        self.unchanged()

    def unchanged(self) -> None:
        changed = {
            name: sorted(file for file in {*files, *now} if files.get(file) != now.get(file))
            for name, files in self.done.items()
            if (now := files_of(self.fold(name))) != files
        }
        number = sum(map(len, self.done.values()))
        expect(
            not changed, f"files of done trainings are untouched: {number} files of {len(self.done)} {changed or ''}"
        )


def prepare(work: Path, *, cases: int, epochs: int, iterations: int) -> None:
    """Data and study.yaml."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support.copy_cases import copy_cases

    shutil.rmtree(work / "raw" / DATASET, ignore_errors=True)
    copy_cases(SOURCE, work / "raw" / DATASET, cases, 3)
    shutil.copytree(SOURCE / "labelsTs", work / "raw" / DATASET / "labelsTs")
    tested = {file.name.replace("_0000", "") for file in (work / "raw" / DATASET / "imagesTs").iterdir()}
    for file in (work / "raw" / DATASET / "labelsTs").iterdir():
        if file.name not in tested:
            file.unlink()
    for name in ("preprocessed", "results", "study"):
        (work / name).mkdir(exist_ok=True)
    text = STUDY.format(dataset=DATASET, epochs=epochs, iterations=iterations)
    (work / "study" / "study.yaml").write_text(text)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--work",
        type=Path,
        help="folder of data, study, cluster and logs (default: a new one, removed at the end where all went well)",
    )
    parser.add_argument("--cases", type=int, default=20, help="training cases (default: 20)")
    parser.add_argument("--epochs", type=int, default=6, help="of each training (default: 6)")
    parser.add_argument("--iterations", type=int, default=5, help="of each epoch (default: 5)")
    parser.add_argument("--cpus", type=int, default=2, help="of the cluster's node (default: 2), one for each training")
    parser.add_argument("rest", nargs="*", help="after --: more options of the command")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    lacks = missing()
    if shutil.which("nnUNetv2_reca_study") is None:
        lacks.append(
            "expected nnUNetv2_reca_study on the PATH: activate an environment with pip install 'nnunet-reca[study]'"
        )
    if lacks:
        print("\n".join(f"study_on_slurm.py: {sentence}" for sentence in lacks), file=sys.stderr)
        return 2
    work = (options.work or Path(tempfile.mkdtemp(prefix="nnunet_reca_slurm."))).resolve()
    work.mkdir(parents=True, exist_ok=True)
    work.chmod(0o755)  # munge's socket lies in it
    started = time.monotonic()
    prepare(work, cases=options.cases, epochs=options.epochs, iterations=options.iterations)
    fast = ["--jobs", str(options.cpus + 1), "--slurm-init-seconds-before-status-checks", "5"]
    scenario = None
    try:
        with Cluster(work / "cluster", cpus=options.cpus, gpus=options.cpus) as cluster:
            say(f"a SLURM of one node runs, configuration {cluster.environment['SLURM_CONF']}")
            scenario = Scenario(work, cluster, [*fast, *options.rest])
            try:
                scenario.run()
            finally:
                if scenario.command:
                    scenario.kill()
        expect(not cluster.processes(), "nothing of the cluster is left running")
    except KeyboardInterrupt:
        print(f"study_on_slurm.py: stopped; see {work}", file=sys.stderr)
        return 130
    except SystemExit as stopped:
        why = stopped.code if isinstance(stopped.code, str) else "study_on_slurm.py: failed"
        print(f"{why}; see {work}", file=sys.stderr)
        return 1
    counts = ", ".join(f"{number} {state.lower()}" for state, number in Counter(scenario.states.values()).items())
    say(f"passed in {time.monotonic() - started:.0f} s: {len(scenario.states)} SLURM jobs ({counts})")
    if options.work is None:
        shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())

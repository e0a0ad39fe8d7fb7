"""nnU-Net's folders and commands, for tests that drive whole trainings."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "Dataset004_Hippocampus"

#: Runs several commands, each a list of words, in one interpreter: entry points, ``python -m`` and ``python -c``.
#: Importing nnU-Net takes longer than what it does here. Its worker processes, which import it anew, are forked from a
#: server that has imported it; as when they are spawned, they know nothing but what is sent to them. Commands that ask
#: for as many threads as there are cores get those of ``OMP_NUM_THREADS``, as tests run beside each other.
RUN_ALL = """
import json, multiprocessing, os, runpy, sys
from importlib.metadata import entry_points

cores, context_of = os.cpu_count(), multiprocessing.get_context
os.cpu_count = lambda: int(os.environ.get("OMP_NUM_THREADS", cores))
server = context_of("forkserver")
server.set_forkserver_preload(["nnunetv2.training.nnUNetTrainer.nnUNetTrainer"])
multiprocessing.get_context = lambda method=None: server if method == "spawn" else context_of(method)

for words in json.loads(sys.argv[1]):
    print("$", *words, flush=True)
    if words[:2] == ["python", "-c"]:
        sys.argv = words[1:2] + words[3:]
        exec(words[2], {"__name__": "__main__"})
    elif words[:2] == ["python", "-m"]:
        sys.argv = words[2:]
        runpy.run_module(words[2], run_name="__main__")
    else:
        sys.argv = words
        (command,) = entry_points(group="console_scripts", name=words[0])
        if status := command.load()():
            sys.exit(status)
"""


class Workspace:
    """nnU-Net's three folders and its commands, run as a user would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        few = {"nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": "1", "nnUNet_reca_iterations_per_epoch": "1"}
        self.environment = dict(os.environ, **few)
        self.environment.pop("nnUNet_extTrainer", None)
        for name in ("raw", "preprocessed", "results"):
            (folder / name).mkdir(parents=True)
            self.environment[f"nnUNet_{name}"] = str(folder / name)

    def command(self, *words: object) -> list[str]:
        return [str(Path(sys.executable).parent / str(words[0])), *map(str, words[1:])]

    def run(self, *words: object, **variables: str) -> str:
        done = subprocess.run(
            self.command(*words),
            env=self.environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, f"{words}\n{done.stdout[-4000:]}"
        return done.stdout

    def run_all(self, *commands: Sequence[object], **variables: str) -> list[str]:
        """Output of several commands in one interpreter, which spares their start-up time."""
        words = [[str(word) for word in command] for command in commands]
        printed = self.run(sys.executable, "-c", RUN_ALL, json.dumps(words), **variables)
        _, *outputs = re.split(r"^\$ .*\n", printed, flags=re.MULTILINE)
        assert len(outputs) == len(commands), printed[-4000:]
        return outputs

    def training(
        self, trainer: str, configuration: str, *options: str, dataset: int = 4, fold: int | str = 0
    ) -> tuple[object, ...]:
        """The command that trains a fold on the CPU."""
        return ("nnUNetv2_train", dataset, configuration, fold, "-tr", trainer, "-device", "cpu", *options)

    def train(self, trainer: str, configuration: str, *options: str) -> str:
        return self.run(*self.training(trainer, configuration, *options))

    def name(self, dataset: int) -> str:
        """Full name of a data set."""
        (raw,) = (self.folder / "raw").glob(f"Dataset{dataset:03d}_*")
        return raw.name

    def model(self, trainer: str, configuration: str, *, dataset: int = 4, plans: str = "nnUNetPlans") -> Path:
        return self.folder / "results" / self.name(dataset) / f"{trainer}__{plans}__{configuration}"

    def train_until_killed(self, trainer: str, configuration: str, line: str, *options: str, dataset: int = 4) -> None:
        """Start a training and kill its process group, workers and all, once ``line`` shows up in its output."""
        process = subprocess.Popen(
            self.command(*self.training(trainer, configuration, *options, dataset=dataset)),
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        seen = []
        for printed in process.stdout or ():
            seen.append(printed)
            if line in printed:
                break
        else:
            pytest.fail(f"the training ended before {line!r}:\n{''.join(seen[-40:])}")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def prediction(
        self,
        output: Path,
        trainer: str,
        configuration: str,
        *options: object,
        dataset: int = 4,
        scans: Path | None = None,
    ) -> tuple[object, ...]:
        """The command that predicts scans, by default the data set's test cases, on the CPU and in one process."""
        scans = scans or self.folder / "raw" / self.name(dataset) / "imagesTs"
        model = ("-d", dataset, "-c", configuration, "-tr", trainer)
        one_process = ("-device", "cpu", "-npp", 0, "-nps", 0)
        return ("nnUNetv2_predict", "-i", scans, "-o", output, *model, *one_process, *options)

    def checkpoint(self, trainer: str, configuration: str, *, fold: int | str = 0, **model: Any) -> dict[str, Any]:
        """Content of a trained fold's last checkpoint."""
        file = self.model(trainer, configuration, **model) / f"fold_{fold}" / "checkpoint_final.pth"
        return torch.load(file, weights_only=False, map_location="cpu")

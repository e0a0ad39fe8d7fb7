"""nnU-Net's folders and commands, for tests that drive whole trainings."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from support.preloaded import preloaded

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "Dataset004_Hippocampus"


class Workspace:
    """nnU-Net's three folders and its commands: run as a user does, and, in a ``with`` statement, preloaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stack = contextlib.ExitStack()
        few = {"nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": "1", "nnUNet_reca_iterations_per_epoch": "1"}
        self.environment = dict(os.environ, **few)
        self.environment.pop("nnUNet_extTrainer", None)
        for name in ("raw", "preprocessed", "results"):
            (folder / name).mkdir(parents=True)
            self.environment[f"nnUNet_{name}"] = str(folder / name)

    def __enter__(self) -> "Workspace":
        self.preloaded = self.stack.enter_context(preloaded(self.environment))
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def command(self, *words: object) -> list[str]:
        return [str(Path(sys.executable).parent / str(words[0])), *map(str, words[1:])]

    def run(self, *words: object, **variables: str) -> str:
        """Output of a command in a process of its own."""
        return self._run(self.command(*words), variables)

    def run_all(self, *commands: Sequence[object], **variables: str) -> list[str]:
        """Output of several commands, or ``python``, in processes that need not import nnU-Net."""
        return [self._run([self.preloaded / str(command), *words], variables) for command, *words in commands]

    def _run(self, words: Sequence[object], variables: dict[str, str]) -> str:
        done = subprocess.run(
            list(map(str, words)),
            env=self.environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, f"{words}\n{done.stdout[-4000:]}"
        return done.stdout

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

    def run_until_killed(self, line: str, *words: object) -> None:
        """Start a command and kill its process group, workers and all, once ``line`` shows up in its output."""
        process = subprocess.Popen(
            self.command(*words),
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
            pytest.fail(f"the command ended before {line!r}:\n{''.join(seen[-40:])}")
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

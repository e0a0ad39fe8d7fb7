"""Progress on a terminal: a bar over all jobs and a line for each that runs. Elsewhere a line for each that ends."""

import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from nnunet_reca.study.jobs import Job
from nnunet_reca.study.progress import failure_of, running_lines
from nnunet_reca.study.spec import Study
from nnunet_reca.study.states import DONE, state_of

#: seconds between two looks at the files
INTERVAL = 3.0
#: without a time left, which jobs so far do not tell: they take seconds or days
BAR = "{desc}: {n_fmt} of {total_fmt} |{bar}| {elapsed}"


class Display:
    """Shows what jobs do while it is open.

    Args:
        study: what is asked for.
        folder: of the study.
        jobs: all of them.
    """

    def __init__(self, study: Study, folder: Path, jobs: Iterable[Job]) -> None:
        self.study, self.folder = study, folder
        self.states = {job: state_of(study, folder, job) for job in jobs}
        self.terminal = sys.stderr.isatty()
        self.looked, self.said = 0.0, {job: self._attempts(job) for job in self.states}
        self.bars: list[Any] = []

    def __enter__(self) -> "Display":
        if self.terminal:
            from tqdm import tqdm

            done = sum(state.name == DONE for state in self.states.values())
            self.bars = [tqdm(total=len(self.states), initial=done, desc="jobs", bar_format=BAR)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.looked = 0.0
        if kind is None:
            self.update()
        for bar in reversed(self.bars):
            bar.close()

    def update(self) -> None:
        """Look at the files again, unless that was just done, and show what has changed."""
        if time.monotonic() - self.looked < INTERVAL:
            return
        self.looked = time.monotonic()
        for job, before in self.states.items():
            if before.name == DONE:
                continue
            self.states[job] = state_of(self.study, self.folder, job)
            if self.states[job].name == DONE:
                self._say(f"done: {job}")
                if self.bars:
                    self.bars[0].update()
            elif (attempts := self._attempts(job)) > self.said[job]:
                self.said[job] = attempts
                self._say(f"failed in attempt {attempts}: {job}")
        if self.bars:
            self._show(running_lines(self.states))

    def _attempts(self, job: Job) -> int:
        return failure_of(self.folder, job).get("attempts", 0)

    def _say(self, line: str) -> None:
        text = f"{time.strftime('%H:%M:%S')} {line}"
        if self.bars:
            self.bars[0].write(text)
        else:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()

    def _show(self, lines: list[str]) -> None:
        """One bar without a bar for each line."""
        from tqdm import tqdm

        while len(self.bars) <= len(lines):
            self.bars.append(tqdm(total=0, position=len(self.bars), bar_format="{desc}", leave=False))
        for bar, line in zip(self.bars[1:], [*lines, *[""] * len(self.bars)], strict=False):
            bar.set_description_str(line[: shutil.get_terminal_size().columns - 1])  # the next line is another's
        self.bars[0].refresh()

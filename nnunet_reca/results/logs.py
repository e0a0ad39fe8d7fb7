"""What nnU-Net's training logs tell: losses, pseudo Dice and time of epochs, and peak memory where it was logged."""

import re
from dataclasses import dataclass, field
from pathlib import Path

_EPOCH = re.compile(r": Epoch (\d+)\s*$")
_LOSS = re.compile(r": (train|val)_loss (\S+)\s*$")
_DICE = re.compile(r": Pseudo dice \[(.*)\]\s*$")
_TIME = re.compile(r": Epoch time: ([\d.]+) s\s*$")
_END = re.compile(r": Training done\.\s*$")
_NUMBER = re.compile(r"(?:np\.float\d+\()?(nan|[-+]?\d[\d.]*(?:e[-+]?\d+)?)\)?", re.IGNORECASE)
_MEMORY = re.compile(r"peak\b.*?\bmemory\b.*?([\d.]+)\s*(GiB|MiB|GB|MB)\b", re.IGNORECASE)
_GIB = {"gib": 1.0, "mib": 2**-10, "gb": 1e9 / 2**30, "mb": 1e6 / 2**30}


@dataclass
class Epoch:
    """Figures of an epoch; None or empty where the log has none.

    Attributes:
        train_loss, val_loss: losses.
        pseudo_dice: per label, of nnU-Net's validation patches; NaN where a label did not occur.
        seconds: duration.
    """

    train_loss: float | None = None
    val_loss: float | None = None
    pseudo_dice: list[float] = field(default_factory=list)
    seconds: float | None = None


@dataclass
class TrainingLog:
    """The logs of a fold.

    Attributes:
        epochs: by number. Where a later log repeats an epoch, it and all that followed are the later log's.
        finished: whether the last epoch is followed by the end of the training.
        peak_memory: in GiB, None where no line tells it.
        notes: which files cannot be read, and why.
    """

    epochs: dict[int, Epoch] = field(default_factory=dict)
    finished: bool = False
    peak_memory: float | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def start(self) -> int:
        """First epoch that the logs hold; 0 without any."""
        return min(self.epochs, default=0)

    def add(self, text: str) -> None:
        """Take in a log file, later ones after earlier ones."""
        current = Epoch()
        for line in text.splitlines():
            if match := _EPOCH.search(line):
                number, current, self.finished = int(match[1]), Epoch(), False
                self.epochs = {n: e for n, e in self.epochs.items() if n < number} | {number: current}
            elif match := _LOSS.search(line):
                setattr(current, f"{match[1]}_loss", _float(match[2]))
            elif match := _DICE.search(line):
                current.pseudo_dice = [float(number) for number in _NUMBER.findall(match[1])]
            elif match := _TIME.search(line):
                current.seconds = float(match[1])
            elif _END.search(line):
                self.finished = True
            elif match := _MEMORY.search(line):
                found = float(match[1]) * _GIB[match[2].lower()]
                self.peak_memory = max(found, self.peak_memory or 0.0)


def read_logs(fold: Path) -> TrainingLog:
    """All ``training_log_*.txt`` of a fold in the order of their time stamps; a continued training has several."""
    log = TrainingLog()
    for file in sorted(fold.glob("training_log_*.txt"), key=lambda f: [int(n) for n in re.findall(r"\d+", f.name)]):
        try:
            log.add(file.read_text(encoding="utf-8", errors="replace"))
        except OSError as error:
            log.notes.append(f"{file} cannot be read: {error.strerror}")
    return log


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None

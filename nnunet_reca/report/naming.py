"""Short names of models and plain numbers, as tables and figures show them."""

import math
import re
from collections.abc import Sequence

from nnunet_reca.report.runs import UNSEEDED, Run, models_of
from nnunet_reca.results.files import ModelName

PREFIX = "nnUNetTrainer"
#: nnU-Net's own, which go without saying
CONFIGURATION, PLANS, FOLDS = "3d_fullres", "nnUNetPlans", ("0", "1", "2", "3", "4")
#: shown where a number is not known
UNKNOWN = "–"
#: of the models' names in a folder's name
LONGEST = 150


def short_names(names: Sequence[ModelName]) -> dict[str, str]:
    """Shortest names that tell models apart, by the whole name."""
    varies = [len(set(part)) > 1 for part in zip(*names, strict=True)]
    trainers = _short_trainers([name.trainer for name in names])
    short = {}
    for name, trainer in zip(names, trainers, strict=True):
        shown = [trainer] if varies[0] or not any(varies) else []
        shown += [name.configuration] if varies[2] else []
        shown += [name.plans] if varies[1] else []
        short[str(name)] = ", ".join(shown)
    return short if len(set(short.values())) == len(names) else {str(name): str(name) for name in names}


def report_name(runs: Sequence[Run], folds: Sequence[str]) -> str:
    """A folder's name for the comparison of models' runs: all but nnU-Net's defaults."""
    groups = models_of(runs)
    models = [group[0].model for group in groups.values()]
    each = [[_without_prefix(trainer)] for trainer, _, _ in models]
    seeds = [_seeds(group) for group in groups.values()]
    shared = []
    if len(set(seeds)) > 1:
        each = [[*parts, *filter(None, [text])] for parts, text in zip(each, seeds, strict=True)]
    elif seeds[0]:
        shared.append(seeds[0])
    for axis, default in ((2, CONFIGURATION), (1, PLANS)):
        values = [model[axis] for model in models]
        if len(set(values)) > 1:
            each = [[*parts, value] for parts, value in zip(each, values, strict=True)]
        elif values[0] != default:
            shared.append(values[0])
    folds = list(dict.fromkeys(folds))
    if set(folds) != set(FOLDS):
        shared.append("_".join(["fold" if len(folds) == 1 else "folds", *folds]))
    compared = "_vs_".join("-".join(parts) for parts in each)
    compared = compared if len(compared) <= LONGEST else f"{len(models)}_models"
    return "_".join(["reca_comparison", compared, *shared])


def _seeds(runs: Sequence[Run]) -> str:
    """Of a model's runs; empty for a single one that is not told from others by its seed."""
    found = [run.seed or "none" for run in runs if len(runs) > 1 or run.seed != UNSEEDED]
    return "_".join(["seed" if len(found) == 1 else "seeds", *found]) if found else ""


def _without_prefix(trainer: str) -> str:
    rest = trainer.removeprefix(PREFIX)
    return rest if rest[:1].isupper() else trainer


def _short_trainers(trainers: Sequence[str]) -> list[str]:
    """Trainers without nnU-Net's prefix and without the options that all have."""
    options = [_without_prefix(trainer).split("_") for trainer in trainers]
    if len(set(trainers)) > 1:
        while all(len(o) > 1 for o in options) and len({o[-1] for o in options}) == 1:
            options = [o[:-1] for o in options]
    return ["_".join(o) for o in options]


def number(value: float, digits: int = 2, *, signed: bool = False) -> str:
    """A number with a true minus sign; a dash for NaN."""
    if math.isnan(value):
        return UNKNOWN
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    return f"{0:.{digits}f}" if float(text) == 0 else text.replace("-", "−")


def p_value(p: float) -> str:
    """A p value with three decimals, not less than can be told."""
    return UNKNOWN if math.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def large(value: float | None, unit: float, digits: int) -> str:
    """A number in units such as 1e6; a dash if it is not known."""
    return UNKNOWN if value is None else f"{value / unit:,.{digits}f}"


def wrapped(name: str, width: int = 16) -> str:
    """A name in lines that end after underscores, hyphens, commas or blanks, or where a part alone is too long."""
    parts = [
        part[start : start + width]
        for part in re.findall(r"[^_\-, ]*[_\-, ]|[^_\-, ]+", name)
        for start in range(0, len(part), width)
    ]
    lines, line = [], ""
    for part in parts:
        if line and len(line) + len(part.rstrip()) > width:
            lines.append(line)
            line = ""
        line += part
    return "\n".join(text.strip() for text in [*lines, line])

"""nnU-Net's validation of a fold, and what else the fold's folder tells about its training."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_reca.results.files import name_in_path, read_json
from nnunet_reca.results.labels import Region
from nnunet_reca.results.logs import read_logs
from nnunet_reca.results.problems import Problems, first_line

FINAL = "checkpoint_final.pth"


@dataclass(frozen=True)
class Validation:
    """nnU-Net's validation of one case.

    Attributes:
        prediction: segmentation file.
        dice: from summary.json, by name of the label; NaN where prediction and reference are both empty.
    """

    prediction: Path
    dice: Mapping[str, float]


def read_validation(fold: Path, regions: Mapping[str, Region], ending: str, train: str) -> dict[str, Validation]:
    """Validation of a fold, by case. Only the names of the predictions count: the fold may come from elsewhere.

    Args:
        fold: nnU-Net's ``fold_X``, whose checkpoints are not needed.
        regions: label or region by name.
        ending: of the segmentations.
        train: command that trains the fold, for messages.

    Raises:
        Problems: naming everything that is missing or unreadable.
    """
    if not fold.is_dir():
        raise Problems([f"not trained, {fold} does not exist; run {train}"])
    summary = fold / "validation" / "summary.json"
    if not summary.is_file():
        if not (fold / FINAL).is_file():
            raise Problems(
                [f"the training is unfinished{_last_epoch(fold)}, and {summary} does not exist; go on with {train} --c"]
            )
        raise Problems([f"not validated, {summary} does not exist; run {train} --val"])
    try:
        entries = read_json(summary)["metric_per_case"]
        dice = {name_in_path(e["prediction_file"]).removesuffix(ending): _dice(e, regions) for e in entries}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Problems([f"{summary} is not a summary of these labels: {first_line(error)}"]) from error
    if not dice:
        raise Problems([f"{summary} holds no case; run {train} --val"])
    files = {case: summary.parent / f"{case}{ending}" for case in dice}
    missing = [f"prediction {file} is missing; run {train} --val" for file in files.values() if not file.is_file()]
    if missing:
        raise Problems(missing)
    return {case: Validation(files[case], values) for case, values in dice.items()}


def remarks(fold: Path) -> list[str]:
    """What a reader must know of a fold that is compared by its validation alone."""
    log = read_logs(fold)
    found = [] if (fold / FINAL).is_file() else [f"there is no {FINAL}, only the validation; {_why(fold)}"]
    if not log.epochs:
        return [*found, "there is no training log, so that epochs and times are not known", *log.notes]
    if log.start:
        found.append(f"its logs begin in epoch {log.start}, those before are missing")
    if not log.finished:
        found.append(
            f"its logs end in epoch {max(log.epochs)} without the end of a training: what they tell may be that of an "
            "earlier start"
        )
    return [*found, *log.notes]


def _why(fold: Path) -> str:
    if (fold / "checkpoint_latest.pth").is_file():
        return "checkpoint_latest.pth is there: a training may go on, and the validation be that of an earlier one"
    return "it was deleted or not copied, or the training did not end"


def _dice(entry: Mapping[str, Any], regions: Mapping[str, Region]) -> dict[str, float]:
    metrics = {_key(key): values for key, values in entry["metrics"].items()}
    if set(metrics) != set(regions.values()):
        raise ValueError(f"expected the labels {list(regions.values())}, got {list(metrics)}")
    values = {name: metrics[region]["Dice"] for name, region in regions.items()}
    return {name: float("nan") if value is None else float(value) for name, value in values.items()}


def _key(key: str) -> Region:
    """``"3"`` or ``"(1, 2)"``, as nnU-Net writes labels and regions."""
    numbers = tuple(int(number) for number in re.findall(r"-?\d+", key))
    return numbers if key.startswith("(") else numbers[0]


def _last_epoch(fold: Path) -> str:
    """Where a training stopped, from its logs."""
    epochs = read_logs(fold).epochs
    return f" (its log ends in epoch {max(epochs)})" if epochs else ""

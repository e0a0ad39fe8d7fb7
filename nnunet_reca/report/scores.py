"""Scores of all models on all cases: streamed case by case through a few processes, with a progress bar."""

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_reca.report.agreement import Common
from nnunet_reca.report.models import ComparisonError, Key, Model, Region, Validation

#: a Dice further away from summary.json's is another prediction's, or another reference's
DICE_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Metric:
    """A metric and how it is shown.

    Attributes:
        key: in :attr:`Scores.values`.
        title: name.
        higher_is_better: direction.
        factor: shown value / value.
        digits: shown decimals.
    """

    key: str
    title: str
    higher_is_better: bool
    factor: float = 1.0
    digits: int = 2


METRICS = (Metric("dice", "Dice", True, 100.0), Metric("hd95", "HD95", False), Metric("nsd", "NSD", True, 100.0))


@dataclass(frozen=True)
class Scores:
    """Scores (models, cases, labels) and their axes.

    Attributes:
        models: names.
        keys: fold and case of the second axis.
        labels: names.
        values: by key of the metric; NaN where prediction and reference are both empty.
        one_empty: where either is empty, not both.
        unit: of HD95, "mm" or "px".
        tolerance: of NSD in that unit.
    """

    models: tuple[str, ...]
    keys: tuple[Key, ...]
    labels: tuple[str, ...]
    values: Mapping[str, NDArray[np.float64]]
    one_empty: NDArray[np.bool_]
    unit: str
    tolerance: float

    @property
    def folds(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(fold for fold, _ in self.keys))

    def of_fold(self, metric: str, fold: str) -> NDArray[np.float64]:
        """Values (models, cases, labels) of a fold."""
        return self.values[metric][:, [f == fold for f, _ in self.keys]]


@dataclass(frozen=True)
class Task:
    """One case: its reference and the models' predictions of it."""

    key: Key
    reference: Path
    predictions: tuple[Path, ...]
    reader: Any
    regions: Mapping[str, Region]
    ignore: int | None
    tolerance: float


def read_segmentation(reader: Any, file: Path) -> tuple[NDArray[np.integer], list[float]]:
    """Label map (D, H, W) in the smallest type that holds it, and its spacing, through nnU-Net's reader.

    Raises:
        ValueError: if the file cannot be read.
    """
    try:
        data, properties = reader.read_seg(str(file))
        largest = data.max(initial=0)
        kind = np.uint8 if largest < 2**8 else np.uint16 if largest < 2**16 else np.int32
        return data[0].astype(kind), [float(s) for s in properties["spacing"]]
    except Exception as error:  # readers raise whatever their libraries do
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise ValueError(f"{file} cannot be read: {lines[-1].strip()}") from error  # SimpleITK's reason comes last


def _score_task(task: Task) -> list[Any]:
    """Scores by label of every model, or a message where a file is at fault."""
    from nnunet_reca.report.metrics import score_case

    try:
        reference, spacing = read_segmentation(task.reader, task.reference)
    except ValueError as error:
        return [str(error)]
    found: list[Any] = []
    for file in task.predictions:
        try:
            prediction, _ = read_segmentation(task.reader, file)
            found.append(
                score_case(reference, prediction, spacing, task.regions, tolerance=task.tolerance, ignore=task.ignore)
            )
        except ValueError as error:
            text = str(error)
            found.append(text if str(file) in text else f"{file}: {text}")
    return found


def measure(
    models: Sequence[Model],
    common: Common,
    references: Mapping[str, Path],
    *,
    tolerance: float,
    processes: int,
    progress: bool = True,
) -> Scores:
    """Score every model on every common case.

    Args:
        references: segmentation file by case.
        tolerance: of NSD, in mm or px.
        processes: that work in parallel, one case each.

    Raises:
        ComparisonError: naming every file that cannot be read, and every Dice that is not summary.json's.
    """
    reader = reader_of(models[0])
    tasks = _tasks(models, common, references, reader, tolerance)
    shape = (len(models), len(tasks), len(common.regions))
    values = {metric.key: np.full(shape, np.nan) for metric in METRICS}
    one_empty = np.zeros(shape, dtype=bool)
    problems = []
    for position, found in _run(tasks, processes, progress):
        problems += [f"fold {tasks[position].key[0]}: {text}" for text in found if isinstance(text, str)]
        for index, scores in enumerate(found):
            if isinstance(scores, str):
                continue
            validation = models[index].validations[tasks[position].key]
            problems += _doubts(validation, scores)
            for column, label in enumerate(common.regions):
                place = index, position, column
                values["dice"][place] = validation.dice[label]
                values["hd95"][place], values["nsd"][place] = scores[label].hd95, scores[label].nsd
                one_empty[place] = scores[label].one_empty
    if problems:
        raise ComparisonError(sorted(problems), "files do not fit")
    unit = "px" if type(reader).__name__ == "NaturalImage2DIO" else "mm"
    names, labels = tuple(m.name for m in models), tuple(common.regions)
    return Scores(names, common.keys, labels, values, one_empty, unit, tolerance)


def _tasks(
    models: Sequence[Model], common: Common, references: Mapping[str, Path], reader: Any, tolerance: float
) -> list[Task]:
    """A task for every common case."""
    found = []
    for key in common.keys:
        predictions = tuple(model.validations[key].prediction for model in models)
        found.append(Task(key, references[key[1]], predictions, reader, common.regions, common.ignore, tolerance))
    return found


def _doubts(validation: Validation, scores: Mapping[str, Any]) -> list[str]:
    """A message for every label whose Dice is not that of summary.json."""
    return [
        f"{validation.prediction}: Dice of {label} is {score.dice:.4f}, summary.json says "
        f"{validation.dice[label]:.4f}; the prediction or the reference has changed since, "
        "validate again with nnUNetv2_train --val"
        for label, score in scores.items()
        if not np.isclose(score.dice, validation.dice[label], rtol=0, atol=DICE_TOLERANCE, equal_nan=True)
    ]


def reader_of(model: Model) -> Any:
    """nnU-Net's reader of the model's data."""
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    return PlansManager(model.read("plans.json")).image_reader_writer_class()


def _run(tasks: Sequence[Task], processes: int, progress: bool) -> Iterator[tuple[int, list[Any]]]:
    """Position and scores of every task, in the order in which they end."""
    from tqdm import tqdm

    with tqdm(total=len(tasks), desc="measuring cases", unit="case", disable=not progress) as bar:
        if processes == 1:
            for position, task in enumerate(tasks):
                yield position, _score_task(task)
                bar.update()
            return
        with ProcessPoolExecutor(processes, mp_context=_context(), initializer=_single_thread) as pool:
            futures: dict[Future[list[Any]], int] = {pool.submit(_score_task, t): n for n, t in enumerate(tasks)}
            for future in as_completed(futures):
                try:
                    yield futures[future], future.result()
                except BrokenProcessPool as error:
                    raise ValueError(
                        "a process that measures cases was killed, most likely for lack of memory; say -np 1"
                    ) from error
                bar.update()


def _context() -> Any:
    """Processes that share the memory of the imported libraries, where the system has them."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["nnunet_reca.report.metrics"])
    return context


def _single_thread() -> None:
    import torch

    torch.set_num_threads(1)

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
from nnunet_reca.report.models import Key, Model
from nnunet_reca.results.images import common_spacing, distance_unit, read_segmentation
from nnunet_reca.results.labels import Region
from nnunet_reca.results.problems import Problems
from nnunet_reca.results.validation import Validation

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

    @property
    def perfect(self) -> float:
        """Best possible score."""
        return float(self.higher_is_better)

    def difference_unit(self, distance: str) -> str:
        """Unit of a shown difference; ``distance`` is that of HD95."""
        return "points" if self.factor == 100 else distance

    def unit(self, distance: str) -> str:
        """Unit of a shown score."""
        return "%" if self.factor == 100 else distance


METRICS = (Metric("dice", "Dice", True, 100.0), Metric("hd95", "HD95", False), Metric("nsd", "NSD", True, 100.0))


@dataclass(frozen=True)
class CaseScore:
    """Scores of a label or region in a case.

    Attributes:
        dice, hd95, nsd: see :mod:`nnunet_reca.report.metrics`; HD95 in the unit of the spacing.
        one_empty: either prediction or reference is empty, not both.
    """

    dice: float
    hd95: float
    nsd: float
    one_empty: bool = False


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


def _score_task(task: Task) -> list[Any]:
    """Scores by label of every model, or a message where a file is at fault.

    Raises:
        MemoryError: if the case does not fit into memory.
    """
    from nnunet_reca.report.metrics import score_case

    try:
        reference, spacing = read_segmentation(task.reader, task.reference)
    except ValueError as error:
        return [str(error)]
    found: list[Any] = []
    options: Any = {"tolerance": task.tolerance, "ignore": task.ignore}
    for file in task.predictions:
        try:
            prediction, own = read_segmentation(task.reader, file)
            spacing = common_spacing(spacing, own, reference.ndim)
            found.append(score_case(reference, prediction, spacing, task.regions, **options))
            del prediction  # before the next one is read
        except MemoryError:
            raise
        except Exception as error:  # whatever a reader or torch raises, the file must be named
            found.append(_fault(file, error))
    return found


def _fault(file: Path, error: BaseException) -> str:
    """A message that names the file, and the exception unless it is one with words of ours."""
    text = (str(error).splitlines() or [""])[0]
    if not isinstance(error, ValueError):
        text = f"{type(error).__name__}: {text}"
    return text if str(file) in text else f"{file}: {text}"


def measure(
    models: Sequence[Model],
    common: Common,
    references: Mapping[str, Path],
    reader: Any,
    *,
    tolerance: float,
    processes: int,
    progress: bool = True,
) -> Scores:
    """Score every model on every common case.

    Args:
        references: segmentation file by case.
        reader: nnU-Net's.
        tolerance: of NSD, in mm or px.
        processes: that work in parallel, one case each.

    Raises:
        Problems: naming every file that cannot be read, and every Dice that is not summary.json's.
        ValueError: if memory is short.
    """
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
        raise Problems(sorted(problems), "files do not fit")
    names, labels = tuple(str(m.name) for m in models), tuple(common.regions)
    return Scores(names, common.keys, labels, values, one_empty, distance_unit(reader), tolerance)


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


def _run(tasks: Sequence[Task], processes: int, progress: bool) -> Iterator[tuple[int, list[Any]]]:
    """Position and scores of every task, in the order in which they end.

    Raises:
        ValueError: if memory is short.
    """
    from tqdm import tqdm

    with tqdm(total=len(tasks), desc="measuring cases", unit="case", disable=not progress) as bar:
        try:
            for found in _alone(tasks) if processes == 1 else _together(tasks, processes):
                yield found
                bar.update()
        except MemoryError as error:
            more = "" if processes == 1 else "; say -np 1"
            raise ValueError(f"a case does not fit into memory with {processes} at a time{more}") from error
        except BrokenProcessPool as error:
            raise ValueError(
                "a process that measures cases was killed; if it was the system, for lack of memory, say -np 1"
            ) from error


def _alone(tasks: Sequence[Task]) -> Iterator[tuple[int, list[Any]]]:
    """The tasks in this process."""
    for position, task in enumerate(tasks):
        yield position, _score_task(task)


def _together(tasks: Sequence[Task], processes: int) -> Iterator[tuple[int, list[Any]]]:
    """The tasks in several processes.

    Raises:
        MemoryError, BrokenProcessPool: if memory is short; what has not begun is dropped.
    """
    with ProcessPoolExecutor(processes, mp_context=_context(tasks[0].reader), initializer=_single_thread) as pool:
        futures: dict[Future[list[Any]], int] = {pool.submit(_score_task, t): n for n, t in enumerate(tasks)}
        for future in as_completed(futures):
            position = futures[future]
            try:
                yield position, future.result()
            except (MemoryError, BrokenProcessPool):
                pool.shutdown(cancel_futures=True)
                raise
            except Exception as error:  # whatever stops a case, it must be named
                yield position, [_fault(tasks[position].reference, error)]


def _context(reader: Any) -> Any:
    """Processes that share the memory of the imported libraries, the reader's too, where the system has them."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["nnunet_reca.report.metrics", type(reader).__module__])
    return context


def _single_thread() -> None:
    import torch

    torch.set_num_threads(1)

"""Measures all models on all cases: streamed case by case through a few processes, with a progress bar."""

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nnunet_reca.report.metrics import LabelScore, score_case
from nnunet_reca.report.models import Common, Key, Model
from nnunet_reca.report.runs import Run
from nnunet_reca.report.scores import Scores, names_apart
from nnunet_reca.results.images import common_spacing, distance_unit, read_segmentation
from nnunet_reca.results.labels import Region
from nnunet_reca.results.problems import Problems
from nnunet_reca.results.validation import Validation

#: a Dice further away from summary.json's is another prediction's, or another reference's
DICE_TOLERANCE = 1e-4
#: of one model: scores by label, or a message where its file is at fault
Measured = Mapping[str, LabelScore] | str


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


def measure(
    models: Sequence[Model],
    runs: Mapping[str, Run],
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
        models: results folders.
        runs: which model each is a run of, by its name.
        references: segmentation file by case.
        reader: nnU-Net's.
        tolerance: of NSD, in mm or px.
        processes: that work in parallel, one case each.

    Raises:
        Problems: naming every file that cannot be read, and every Dice that is not summary.json's.
        ValueError: if memory is short.
    """
    tasks = [
        Task(
            key,
            references[key[1]],
            tuple(model.validations[key].prediction for model in models),
            reader,
            common.regions,
            common.ignore,
            tolerance,
        )
        for key in common.keys
    ]
    measured = dict(_run(tasks, processes, progress))
    problems = [problem for n, task in enumerate(tasks) for problem in _problems(task, measured[n], models)]
    if problems:
        raise Problems(sorted(problems), "files do not fit")
    labels = dict(zip(common.regions, names_apart(list(common.regions)), strict=True))
    rows = [
        (str(run.model), run.seed, *task.key, labels[label])
        + (model.validations[task.key].dice[label], s.hd95, s.nsd, s.one_empty)
        for place, (model, run) in enumerate((model, runs[str(model.name)]) for model in models)
        for n, task in enumerate(tasks)
        for label, s in measured[n][place].items()
    ]
    columns = ["model", "run", "fold", "case", "label", "dice", "hd95", "nsd", "one_empty"]
    return Scores.of(pd.DataFrame(rows, columns=columns), distance_unit(reader), tolerance)


def _problems(task: Task, measured: Sequence[Any], models: Sequence[Model]) -> list[str]:
    """What is wrong with the files of a case; a reference at fault is named once."""
    problems = [f"fold {task.key[0]}: {text}" for text in measured if isinstance(text, str)]
    for model, scores in zip(models, measured, strict=False):
        if not isinstance(scores, str):
            problems += _doubts(model.validations[task.key], scores)
    return problems


def _doubts(validation: Validation, scores: Mapping[str, LabelScore]) -> list[str]:
    """A message for every label whose Dice is not that of summary.json."""
    return [
        f"{validation.prediction}: Dice of {label} is {score.dice:.4f}, summary.json says "
        f"{validation.dice[label]:.4f}; the prediction or the reference has changed since, "
        "validate again with nnUNetv2_train --val"
        for label, score in scores.items()
        if not np.isclose(score.dice, validation.dice[label], rtol=0, atol=DICE_TOLERANCE, equal_nan=True)
    ]


def _measure_task(task: Task) -> list[Any]:
    """:data:`Measured` of every model, or a single message where the reference is at fault.

    Raises:
        MemoryError: if the case does not fit into memory.
    """
    try:
        reference, spacing = read_segmentation(task.reader, task.reference)
    except ValueError as error:
        return [str(error)]
    measured: list[Measured] = []
    for file in task.predictions:
        try:
            prediction, own = read_segmentation(task.reader, file)
            spacing = common_spacing(spacing, own, reference.ndim)
            options: Any = {"tolerance": task.tolerance, "ignore": task.ignore}
            measured.append(score_case(reference, prediction, spacing, task.regions, **options))
            del prediction  # before the next one is read
        except MemoryError:
            raise
        except Exception as error:  # whatever a reader or a library raises, the file must be named
            measured.append(_fault(file, error))
    return measured


def _fault(file: Path, error: BaseException) -> str:
    """A message that names the file, and the exception unless it is one with words of ours."""
    text = (str(error).splitlines() or [""])[0]
    if not isinstance(error, ValueError):
        text = f"{type(error).__name__}: {text}"
    return text if str(file) in text else f"{file}: {text}"


def _run(tasks: Sequence[Task], processes: int, progress: bool) -> Iterator[tuple[int, list[Any]]]:
    """Position and scores of every task, in the order in which they end.

    Raises:
        ValueError: if memory is short.
    """
    from tqdm import tqdm

    with tqdm(total=len(tasks), desc="measuring cases", unit="case", disable=not progress) as bar:
        try:
            for done in _alone(tasks) if processes == 1 else _together(tasks, processes):
                yield done
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
        yield position, _measure_task(task)


def _together(tasks: Sequence[Task], processes: int) -> Iterator[tuple[int, list[Any]]]:
    """The tasks in several processes.

    Raises:
        MemoryError, BrokenProcessPool: if memory is short; what has not begun is dropped.
    """
    with ProcessPoolExecutor(processes, mp_context=_context(tasks[0].reader)) as pool:
        futures: dict[Future[list[Any]], int] = {pool.submit(_measure_task, t): n for n, t in enumerate(tasks)}
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
    context.set_forkserver_preload([__name__, type(reader).__module__])
    return context

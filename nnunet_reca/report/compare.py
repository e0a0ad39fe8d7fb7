"""From a request to a report: find, check, measure, compare, draw and write."""

import importlib
import importlib.metadata
import math
import multiprocessing
import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import nnunet_reca
from nnunet_reca.report.gather import Gathered, gather
from nnunet_reca.report.models import asked_for, find_models
from nnunet_reca.report.naming import CONFIGURATION, FOLDS, PLANS, report_name, short_names
from nnunet_reca.report.runs import UNSEEDED, runs_of, seed_name
from nnunet_reca.results.output import ReportFolder

if TYPE_CHECKING:
    from nnunet_reca.report.figures import Drawing
    from nnunet_reca.report.models import Model
    from nnunet_reca.report.scores import Scores
    from nnunet_reca.report.statistics import Paired

T = TypeVar("T")

FOLDER = ReportFolder("nnunet_reca comparison", "results.json")
PACKAGES = ("nnunetv2", "torch", "numpy", "scipy", "pandas", "matplotlib", "seaborn")


@dataclass(frozen=True)
class Comparison:
    """What to compare and how; see ``nnUNetv2_reca_compare --help``."""

    dataset: str
    trainers: tuple[str, ...]
    configurations: tuple[str, ...] = (CONFIGURATION,)
    plans: tuple[str, ...] = (PLANS,)
    folds: tuple[str, ...] = FOLDS
    output: Path | None = None
    tolerance: float = 1.0
    all_pairs: bool = False
    intersection: bool = False
    overlays: int = 4
    processes: int = 2
    overwrite: bool = False


@dataclass(frozen=True)
class Outcome:
    """A report's folder and the sentences that sum it up."""

    output: Path
    sentences: tuple[str, ...]


def compare(comparison: Comparison) -> Outcome:
    """Compare models and write the report.

    With more than one process they are new ones, which import the caller's script: keep what it does under
    ``if __name__ == "__main__"``.

    Raises:
        ValueError: if anything is missing, does not fit, or would be overwritten; nothing is written then.
    """
    _check(comparison)
    alone = comparison.processes == 1
    output, gathered = _gather(comparison) if alone else _in_new_process(_gather, comparison)
    return _measure_and_write(comparison, output, gathered)


def _in_new_process(function: Callable[[Comparison], T], comparison: Comparison) -> T:
    """``function(comparison)``; what it imports and allocates ends with the process.

    Raises:
        ValueError: if the process ends early.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(function, comparison).result()
        except BrokenProcessPool as error:
            raise ValueError(
                f"the process that reads the models ended early ({error}); say -np 1 to do everything in one process"
            ) from error


def _gather(comparison: Comparison) -> tuple[Path, Gathered]:
    """The report's folder, and all that goes in but the scores.

    nnU-Net and the networks that are counted here take hundreds of MiB, which nothing later needs.
    """
    dataset = _dataset_name(comparison.dataset)
    results = _folder("nnUNet_results") / dataset
    names = asked_for(comparison.trainers, comparison.configurations, comparison.plans)
    output = comparison.output or results / report_name(list(runs_of(names).values()), comparison.folds)
    output = FOLDER.usable(output, overwrite=comparison.overwrite)
    models = find_models(results, names, comparison.folds, comparison.dataset)
    versions = {name: _version(name) for name in PACKAGES}
    gathered = gather(dataset, models, versions, intersection=comparison.intersection)
    if comparison.processes > 1:
        _check_can_be_sent(gathered.reader)
    return output, gathered


def _check_can_be_sent(reader: Any) -> None:
    try:
        pickle.dumps(reader)
    except Exception as error:
        raise ValueError(
            f"the reader {type(reader).__name__} cannot be sent to another process ({error}); say -np 1"
        ) from error


def _check(comparison: Comparison) -> None:
    if not (comparison.tolerance > 0 and math.isfinite(comparison.tolerance)):
        raise ValueError(f"expected --tolerance greater than 0 and finite, got {comparison.tolerance:g}")
    if comparison.processes < 1 or comparison.overlays < 0:
        raise ValueError("expected -np of at least 1 and --overlays of at least 0")
    for fold in comparison.folds:
        if not (fold.isdecimal() or fold == "all"):
            raise ValueError(f"expected folds as whole numbers or all, got {fold!r}")
    if "all" in comparison.folds and set(comparison.folds) != {"all"}:
        raise ValueError(
            f"expected folds as numbers or all by itself, which is validated on its own training cases, got "
            f"{' '.join(comparison.folds)}; leave all out, or say -f all"
        )


def _folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value or not Path(value).is_dir():
        raise ValueError(f"expected {variable} to name a folder, got {value!r}; export {variable}=/path/to/{variable}")
    return Path(value)


def _dataset_name(dataset: str) -> str:
    from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name

    try:
        return str(maybe_convert_to_dataset_name(int(dataset) if dataset.isdecimal() else dataset))
    except RuntimeError as error:
        first = str(error).split(". ")[0]
        raise ValueError(f"{first}; name one in nnUNet_results, nnUNet_preprocessed or nnUNet_raw") from error


def _version(package: str) -> str:
    """Of a package, which may come from a distribution of another name, such as a nightly build."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(importlib.import_module(package), "__version__", "unknown"))


def _measure_and_write(comparison: Comparison, output: Path, gathered: Gathered) -> Outcome:
    from nnunet_reca.report import figures, measure, overlays, statistics, summary, wording

    scores = measure.measure(
        gathered.models,
        gathered.runs,
        gathered.common,
        gathered.references,
        gathered.reader,
        tolerance=comparison.tolerance,
        processes=comparison.processes,
    )
    names = short_names(list(dict.fromkeys(run.model for run in gathered.runs.values())))
    paired = statistics.compare(scores, all_pairs=comparison.all_pairs)
    brief = summary.summarise(paired, scores, gathered.costs, names)
    sentences = [wording.sentence(p, scores.unit, names) for p in wording.headline_pairs(paired)]
    with FOLDER.written(output, overwrite=comparison.overwrite) as folder:
        place = folder / "figures"
        place.mkdir()
        training = figures.draw_training(gathered.logs, names, place / "training.png")
        drawings = {
            "score_drawings": figures.draw_scores(scores, names, place, all_pairs=comparison.all_pairs),
            "training_drawings": [training] if training else [],
            "case_drawings": overlays.draw_overlays(gathered, scores, names, place, comparison.overlays),
        }
        about = _about(comparison, gathered) | {"summary": list(brief.sentences)}
        words = _words(gathered, scores, names) | {"summary": brief, "sentences": sentences}
        _write(folder, gathered, about, scores, paired, names, words, drawings)
    return Outcome(output, (*brief.sentences, *sentences))


def _about(comparison: Comparison, gathered: Gathered) -> dict[str, Any]:
    """What was asked for and what was at hand."""
    return {
        "dataset": gathered.dataset,
        "folds": list(gathered.models[0].folds),
        "left_out": list(gathered.common.left_out),
        "remarks": [f"{model.name}, {remark}" for model in gathered.models for remark in model.remarks],
        "arguments": {key: str(v) if isinstance(v, Path) else v for key, v in asdict(comparison).items()},
        "versions": {"nnunet_reca": nnunet_reca.__version__, **gathered.versions},
    }


def _write(
    folder: Path,
    gathered: Gathered,
    about: Mapping[str, Any],
    scores: "Scores",
    paired: "Sequence[Paired]",
    names: Mapping[str, str],
    words: Mapping[str, Any],
    drawings: "Mapping[str, Sequence[Drawing]]",
) -> None:
    """All files but the figures."""
    from nnunet_reca.report import page, tables
    from nnunet_reca.report.cost import cost_frame
    from nnunet_reca.report.statistics import difference_frame

    shown = {
        "score_tables": [tables.score_table(scores, names), *tables.run_tables(scores, names)],
        "difference_tables": tables.difference_tables(paired, scores, names),
        "fold_tables": tables.fold_tables(scores, names),
        "cost_tables": [tables.cost_table(gathered.costs, scores, names)],
    }
    every = [table for group in shown.values() for table in group]
    (folder / "tables.md").write_text("\n".join(map(page.markdown, every)), encoding="utf-8")
    (folder / "tables.tex").write_text("\n".join(map(page.latex, every)), encoding="utf-8")
    text = page.html_page({"about": about, **words, **shown, **drawings})
    (folder / "report.html").write_text(text, encoding="utf-8")
    frames = {
        "means": scores.means(),
        "differences": difference_frame(paired),
        "cost": cost_frame(gathered.costs),
        "cases": scores.frame,
    }
    for name, frame in frames.items():
        frame.to_csv(folder / f"{name}.csv", index=False, encoding="utf-8")
    facts = {"unit": scores.unit, "tolerance": scores.tolerance, "models": scores.models, "labels": scores.labels}
    facts["runs"] = [
        {"model": name, "run": seed, "folder": str(model.name)}
        for name, runs in gathered.folders().items()
        for seed, model in runs.items()
    ]
    records = {name: frame.astype(object).to_dict("records") for name, frame in frames.items()}
    FOLDER.write_record(folder, {**about, **facts, **records})


def _listed(name: str, runs: "Mapping[str, Model]") -> str:
    """A model's name, and its runs where they have seeds in theirs."""
    return (
        name
        if list(runs) == [UNSEEDED]
        else f"{name}, {len(runs)} run{'s' * (len(runs) > 1)}: " + ", ".join(map(seed_name, runs))
    )


def _words(gathered: Gathered, scores: "Scores", names: Mapping[str, str]) -> dict[str, Any]:
    """The page's sentences that are about the whole."""
    from nnunet_reca.report import wording

    count = len(scores.models)
    folds = f"fold{'s' * (len(scores.folds) > 1)} {', '.join(scores.folds)}"
    runs = f" in {len(gathered.models)} runs" * scores.several_runs
    return {
        "title": f"{gathered.dataset}: {' and '.join(names.values()) if count == 2 else f'{count} models'}",
        "subtitle": f"Cross-validation of {count} models{runs} on {len(scores.cases)} cases, {folds}.",
        "fold_all": wording.FOLD_ALL if "all" in scores.folds else "",
        "models": [f"{names[name]}: {_listed(name, runs)}" for name, runs in gathered.folders().items()],
        "limits": wording.limits(gathered.models, scores),
        "methods": wording.methods(scores),
    }

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
from nnunet_reca.results.output import KIND, usable_output, whole_folder, write_csv, write_json

if TYPE_CHECKING:
    from nnunet_reca.report.figures import Drawing
    from nnunet_reca.report.page import Section
    from nnunet_reca.report.scores import Scores
    from nnunet_reca.report.statistics import Paired
    from nnunet_reca.report.tables import Table

T = TypeVar("T")

EXTRA = ("matplotlib", "monai", "scipy", "SimpleITK", "tqdm")


@dataclass(frozen=True)
class Request:
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
class Result:
    """A report's folder and the sentences that sum it up."""

    output: Path
    sentences: tuple[str, ...]


def compare(request: Request) -> Result:
    """Compare models and write the report.

    With more than one process they are new ones, which import the caller's script: keep what it does under
    ``if __name__ == "__main__"``.

    Raises:
        ValueError: if anything is missing, does not fit, or would be overwritten; nothing is written then.
    """
    _check(request)
    output, found, about = _gather(request) if request.processes == 1 else _in_new_process(_gather, request)
    return _measure_and_write(request, output, found, about)


def _in_new_process(function: Callable[[Request], T], request: Request) -> T:
    """``function(request)``; what it imports and allocates ends with the process.

    Raises:
        ValueError: if the process ends early.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(function, request).result()
        except BrokenProcessPool as error:
            raise ValueError(
                f"the process that reads the models ended early ({error}); say -np 1 to do everything in one process"
            ) from error


def _gather(request: Request) -> tuple[Path, Gathered, dict[str, Any]]:
    """The report's folder, all that goes in but the scores, and what it is about.

    nnU-Net and the networks that are counted here take hundreds of MiB, which nothing later needs.
    """
    missing = [name for name in EXTRA if not _imports(name)]
    if missing:
        raise ValueError(f"{', '.join(missing)} cannot be imported; run pip install 'nnunet-reca[report]'")
    dataset = _dataset_name(request.dataset)
    results = _folder("nnUNet_results") / dataset
    names = asked_for(request.trainers, request.configurations, request.plans)
    output = usable_output(request.output or results / report_name(names, request.folds), overwrite=request.overwrite)
    models = find_models(results, names, request.folds, request.dataset)
    found = gather(dataset, models, intersection=request.intersection)
    if request.processes > 1:
        _check_can_be_sent(found.reader)
    return output, found, _about(request, found)


def _check_can_be_sent(reader: Any) -> None:
    try:
        pickle.dumps(reader)
    except Exception as error:
        raise ValueError(
            f"the reader {type(reader).__name__} cannot be sent to another process ({error}); say -np 1"
        ) from error


def _imports(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def _check(request: Request) -> None:
    if not (request.tolerance > 0 and math.isfinite(request.tolerance)):
        raise ValueError(f"expected --tolerance greater than 0 and finite, got {request.tolerance:g}")
    if request.processes < 1 or request.overlays < 0:
        raise ValueError("expected -np of at least 1 and --overlays of at least 0")
    for fold in request.folds:
        if not (fold.isdecimal() or fold == "all"):
            raise ValueError(f"expected folds as whole numbers or all, got {fold!r}")
    if "all" in request.folds and set(request.folds) != {"all"}:
        raise ValueError(
            f"expected folds as numbers or all by itself, which is validated on its own training cases, got "
            f"{' '.join(request.folds)}; leave all out, or say -f all"
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


def _measure_and_write(request: Request, output: Path, found: Gathered, about: Mapping[str, Any]) -> Result:
    from nnunet_reca.report import figures, overlays, scores, statistics, wording

    measured = scores.measure(
        found.models,
        found.common,
        found.references,
        found.reader,
        tolerance=request.tolerance,
        processes=request.processes,
    )
    names = short_names([model.name for model in found.models])
    paired = statistics.compare(measured, all_pairs=request.all_pairs)
    sentences = [wording.sentence(p, measured.unit, names) for p in wording.headline_pairs(paired)]
    with whole_folder(output, overwrite=request.overwrite) as folder:
        (folder / "figures").mkdir()
        drawn = figures.draw_scores(measured, names, folder / "figures", all_pairs=request.all_pairs)
        curves = figures.draw_training(found.logs, names, folder / "figures" / "training.png")
        cases = overlays.draw_overlays(found, measured, names, folder / "figures", request.overlays)
        drawings = {"scores": drawn, "training": [curves] if curves else [], "cases": cases}
        _write(folder, found, about, measured, paired, names, sentences, drawings)
    return Result(output, tuple(sentences))


def _about(request: Request, found: Gathered) -> dict[str, Any]:
    """What was asked for and what was at hand."""
    packages = ("nnunetv2", "torch", "monai", "scipy", "numpy", "matplotlib")
    return {
        "kind": KIND,
        "dataset": found.dataset,
        "folds": list(found.models[0].folds),
        "left_out": list(found.common.left_out),
        "remarks": [f"{model.name}, {remark}" for model in found.models for remark in model.remarks],
        "arguments": {key: str(v) if isinstance(v, Path) else v for key, v in asdict(request).items()},
        "versions": {"nnunet_reca": nnunet_reca.__version__, **{name: _version(name) for name in packages}},
    }


def _version(package: str) -> str:
    """Of a package, which may come from a distribution of another name, such as a nightly build."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(importlib.import_module(package), "__version__", "unknown"))


def _write(
    folder: Path,
    found: Gathered,
    about: Mapping[str, Any],
    scores: "Scores",
    paired: "Sequence[Paired]",
    names: Mapping[str, str],
    sentences: Sequence[str],
    drawings: "Mapping[str, Sequence[Drawing]]",
) -> None:
    from nnunet_reca.report import content, page, records, tables

    shown = {
        "scores": [content.score_table(scores, names)],
        "differences": content.difference_tables(paired, scores, names),
        "folds": content.fold_tables(scores, names),
        "cost": [content.cost_table(found.costs, scores, names)],
    }
    every: list[Table] = [table for group in shown.values() for table in group]
    (folder / "tables.md").write_text("\n".join(map(tables.markdown, every)), encoding="utf-8")
    (folder / "tables.tex").write_text("\n".join(map(tables.latex, every)), encoding="utf-8")
    write_csv(folder / "cases.csv", records.case_records(scores))
    write_csv(folder / "means.csv", records.mean_records(scores))
    write_csv(folder / "differences.csv", records.paired_records(paired))
    write_csv(folder / "cost.csv", records.cost_records(found.costs))
    write_json(folder / "results.json", records.all_records(scores, paired, found.costs, about))
    text = page.page(*_page(found, about, scores, names, sentences, shown, drawings))
    (folder / "report.html").write_text(text, encoding="utf-8")


def _page(
    found: Gathered,
    about: Mapping[str, Any],
    scores: "Scores",
    names: Mapping[str, str],
    sentences: Sequence[str],
    shown: "Mapping[str, Sequence[Table]]",
    drawings: "Mapping[str, Sequence[Drawing]]",
) -> tuple[str, str, list[Any], str]:
    """Title, subtitle, sections and footer."""
    from nnunet_reca.report import wording
    from nnunet_reca.report.page import Section

    cases = len({case for _, case in scores.keys})
    models, left_out = found.models, about["left_out"]
    remarks_below = ["The comparison needs the validations only; this is what else it looked for."]
    only = ["Only what all models have in common is compared."]
    sections = [
        Section("What the cases say", sentences, kind="lead"),
        *_about_all(scores),
        Section("Models", points=[f"{names[str(m.name)]}: {m.name}" for m in models]),
        *([Section("What is not there", remarks_below, about["remarks"])] if about["remarks"] else []),
        *([Section("Left out", only, left_out, kind="warning")] if left_out else []),
        Section("Scores", tables=shown["scores"], drawings=drawings["scores"]),
        Section("Differences on the same cases", tables=shown["differences"]),
        Section("Cost", tables=shown["cost"], drawings=drawings["training"]),
        Section("Cases in which the models differ most", _about_cases(drawings), drawings=drawings["cases"]),
        Section("Folds", tables=shown["folds"]),
        Section("How far this carries", points=wording.limits(models, scores)),
        Section("How it was measured", points=wording.methods(scores)),
    ]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    folds = f"fold{'s' * (len(scores.folds) > 1)} {', '.join(scores.folds)}"
    return (
        f"{about['dataset']}: {' and '.join(names.values()) if len(names) == 2 else f'{len(names)} models'}",
        f"Cross-validation of {len(models)} models on {cases} cases, {folds}.",
        sections,
        f"Made by nnUNetv2_reca_compare; {versions}. All numbers: results.json and the CSV files beside this page.",
    )


def _about_cases(drawings: "Mapping[str, Sequence[Drawing]]") -> list[str]:
    if not drawings["cases"]:
        return ["No case has different scores, or none was asked for."]
    return [
        "Chosen by the largest difference in mean Dice, so not typical. Voxels are shown as they are stored; the white "
        "line is the outline of the reference."
    ]


def _about_all(scores: "Scores") -> "list[Section]":
    """A warning where training cases are scored."""
    from nnunet_reca.report import wording
    from nnunet_reca.report.page import Section

    return [Section("Fold all", [wording.FOLD_ALL], kind="warning")] if "all" in scores.folds else []

"""``nnUNetv2_reca_study``: a whole study of several models, folds and seeds, from raw data to the comparison."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from nnunet_reca.cli.console import on_any_console, say

STATUS = "status"


@on_any_console
def main(arguments: list[str] | None = None) -> int:
    """Run a study, say what would run, or how far it is.

    Returns:
        0 if all went well, 1 with messages if not, 130 if it was stopped.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    first = words.pop(0) if words and not words[0].startswith("-") else None
    if first == STATUS:
        first, ask = words.pop(0) if words and not words[0].startswith("-") else None, True
    else:
        ask = False
    options, rest = _parser().parse_known_args(words)
    from nnunet_reca.study import run

    try:
        request = request_of(first, options, [] if ask else rest)
        if ask:
            if rest:
                raise ValueError(f"expected nothing but a folder after {STATUS}, got {' '.join(rest)}")
            return run.status(request, say)
        return (run.show if options.dry_run else run.run)(request, say)
    except ValueError as error:
        sys.stderr.write(f"nnUNetv2_reca_study: {error}\n")
        return 1


def request_of(first: str | None, options: argparse.Namespace, rest: list[str]) -> Any:
    """What is asked for: a file or folder of a study, options, or both, in which case the options count.

    Args:
        first: study.yaml, the folder that holds one, or a file of another name for a study in a folder of its own.
        options: of this command.
        rest: options of Snakemake.

    Raises:
        ValueError: if there is neither, or a file that cannot be read.
    """
    from nnunet_reca.study.engine import Request
    from nnunet_reca.study.spec import FILE, read_study

    given = _content(options)
    file = Path(first) / FILE if first and Path(first).is_dir() else Path(first) if first else None
    if file is None and not options.datasets:
        raise ValueError("expected a study's file or folder, or -d and -tr; see nnUNetv2_reca_study --help")
    if file is not None and not file.is_file():
        raise ValueError(f"expected a study's file or folder, got {first}; options of Snakemake come after it")
    content = read_study(file) if file else {}
    own = file.parent if file is not None and file.name == FILE else None
    folder = options.output or own
    if folder is None:
        names = [file.stem] if file else _names(given)
        folder = Path(os.environ.get("nnUNet_results") or ".") / "_".join(["reca_study", *names])
    folder = folder.expanduser().resolve()
    if own is None and (folder / FILE).is_file():
        before = read_study(folder / FILE)
        if options.output is None:
            _refuse_another(folder, before, {**content, **given})
        content = content or before
    if "planners" in given or "plans" in given:
        content = {key: value for key, value in content.items() if key not in ("planners", "plans")}
    steps = dict(content.get("steps") or {})
    if options.threads is not None:
        steps["train"] = {**(steps.get("train") or {}), "threads": options.threads}
    environment = {**_recorded(), **(content.get("environment") or {})}
    content = {**content, **given, "steps": steps, "environment": environment}
    return Request(folder, content, tuple(rest), options.repeat_trainings)


def _refuse_another(folder: Path, before: dict[str, Any], given: dict[str, Any]) -> None:
    """Raise where a call without a folder would take the place of another study of the same data or file's name."""
    before, given = ({**asked, "datasets": _names(asked)} for asked in (before, given))
    for key in ("datasets", "trainers", "configurations", "folds", "seeds"):
        value = before.get(key)
        old = value if isinstance(value, list) else [] if value is None else [value]
        kept = [str(entry) for entry in given.get(key, old)]
        lost = [str(entry) for entry in old if str(entry) not in kept]
        if lost:
            raise ValueError(
                f"expected a study with the {key} of the one in {folder}, got one without {' '.join(lost)}; "
                f"say -o OTHER for another study, -o {folder} to change that one"
            )


def _names(asked: dict[str, Any]) -> list[str]:
    """Full names of a study's data sets."""
    from nnunet_reca.study.spec import study_of

    return list(study_of({"trainers": ["any"], "datasets": asked.get("datasets")}).datasets)


def _recorded() -> dict[str, str]:
    """Variables that shape trainings, which the study keeps."""
    from nnunet_reca.trainers.variables import ITERATIONS_VARIABLE, SEED_VARIABLE

    return {name: os.environ[name] for name in (ITERATIONS_VARIABLE, SEED_VARIABLE) if os.environ.get(name)}


def _content(options: argparse.Namespace) -> dict[str, Any]:
    """Entries of study.yaml that the options give."""
    from nnunet_reca.study.spec import READERS

    return {name: value for name in READERS if (value := getattr(options, name, None)) is not None}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nnUNetv2_reca_study",
        usage="nnUNetv2_reca_study [FILE.yaml or FOLDER] [options] [options of Snakemake]\n"
        "       nnUNetv2_reca_study status FOLDER",
        description="Runs a whole study: plans, preprocesses, trains every model, fold and seed, finds the best "
        "configuration, predicts and evaluates the test scans if there are any, and compares the models on a page. The "
        "same command goes on after a kill. Options that are not listed here go to Snakemake as they are: --executor "
        "slurm --jobs 32.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("-d", dest="datasets", nargs="+", metavar="DATASET", help="data sets, names or ids")
    add("-tr", dest="trainers", nargs="+", metavar="TRAINER", help="any nnU-Net trainers, without seeds")
    add("-c", dest="configurations", nargs="+", metavar="CONFIGURATION", help="default 3d_fullres")
    add("-p", dest="plans", nargs="+", metavar="PLANS", help="plans that are there; default nnUNetPlans")
    add("-pl", dest="planners", nargs="+", metavar="PLANNER", help="planners whose plans to make and use")
    add("-f", dest="folds", nargs="+", metavar="FOLD", help="default 0 1 2 3 4")
    add("--seeds", nargs="+", metavar="N", help="of trainers of this package, which are trained with each of them")
    add(
        "-o",
        dest="output",
        type=Path,
        metavar="FOLDER",
        help="default: reca_study_DATASET in nnUNet_results, of a file.yaml reca_study_file",
    )
    add("--device", "-device", dest="device", help="cuda, cpu or mps; default cuda")
    add("--gpus", nargs="+", metavar="ID", help="of this machine, one for each training; default: all")
    add("--trainings_per_gpu", metavar="N", help="that share a GPU at a time; default 1")
    add("-num_gpus", dest="num_gpus", metavar="N", help="of each training; default 1")
    add("--threads", type=int, metavar="N", help="cores of each training; default: an equal share, at most 12")
    add(
        "--ensembles",
        action="store_const",
        const=True,
        help="try all pairs of models, too; keeps probabilities",
    )
    add("--retries", metavar="N", help="attempts after the first, of each job; default 3")
    add("--dry-run", "-n", action="store_true", help="say what is done, what would run, and how long it will take")
    add(
        "--repeat_trainings",
        action="store_true",
        help="put models aside that were trained with other plans, and train them anew",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

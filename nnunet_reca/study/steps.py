"""What is done before and after a job's command, beside the command itself."""

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from nnunet_reca.results.problems import Problems
from nnunet_reca.study import nnunet
from nnunet_reca.study.fit import fit_problems
from nnunet_reca.study.jobs import Job
from nnunet_reca.study.spec import Study
from nnunet_reca.study.states import OUTCOMES, fold_folder

#: of nnU-Net's, for those who go on by hand
INSTRUCTIONS = "inference_instructions.txt"


def command_of(job: Job, command: Sequence[str], say: Callable[[str], None]) -> list[str]:
    """The command to run, after a look at what an earlier attempt left.

    A training goes on from its best whole checkpoint; those that a kill tore, which nnU-Net would stop at, are put
    aside. One that is trained is only validated, so that its checkpoint stays as it is.

    Args:
        say: for the job's log.
    """
    if job.kind == "train":
        fold = fold_folder(job)
        for name in nnunet.CHECKPOINTS:
            if (fold / name).is_file() and not nnunet.whole_checkpoint(fold / name):
                os.replace(fold / name, fold / f"{name}.torn")
                say(f"{name} was torn by a kill and is now {name}.torn")
        if (fold / nnunet.FINAL).is_file():
            return ["--val" if word == "--c" else word for word in command]
    return list(command)


def mend(job: Job) -> None:
    """Make the split where it is all that preprocessed data lack; preprocessing anew would throw them away."""
    if job.kind == "preprocess":
        stored, cases = nnunet.stored_cases(job.dataset, job.plans, job.configuration), nnunet.cases(job.dataset)
        if stored and stored.issuperset(cases):
            split(job)


def complete(study: Study, folder: Path, job: Job) -> None:
    """What the study needs after a job's command.

    Raises:
        ValueError: if the new plans do not suit the study.
    """
    if job.kind == "plan":
        problems = fit_problems(study, job.dataset, job.plans)
        if problems:
            raise Problems(problems, f"the plans of {job.dataset} do not suit the study")
    elif job.kind == "preprocess":
        split(job)
    elif job.kind == "best":
        for name in (OUTCOMES["best"], INSTRUCTIONS):
            text = (nnunet.results(job.dataset) / name).read_text(encoding="utf-8")
            nnunet.write_whole(folder / job.dataset / name, text)


def split(job: Job) -> None:
    """nnU-Net's split, made before trainings that start together would write it at the same time."""
    file = nnunet.preprocessed(job.dataset) / "splits_final.json"
    if file.is_file():
        return
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    cases = sorted(nnunet.stored_cases(job.dataset, job.plans, job.configuration))
    folds = generate_crossval_split(cases, seed=12345, n_splits=5)
    plain = [{part: [str(case) for case in fold[part]] for part in ("train", "val")} for fold in folds]
    nnunet.write_record(file, plain)


def put_aside(job: Job) -> Path:
    """Move a trained model's folder out of the way, with all its folds.

    Returns:
        Where it is now.
    """
    model = fold_folder(job).parent
    target = model.parent / "replaced" / f"{model.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    target.parent.mkdir(exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.replace(model, target)
    return target

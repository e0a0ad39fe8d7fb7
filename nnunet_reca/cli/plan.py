"""``nnUNetv2_reca_plan``: nnU-Net's plans, with patch and batch for the memory of the network that is trained."""

import argparse
import functools
import math
import sys
from collections.abc import Callable
from typing import Any

from nnunet_reca.cli import plan_files
from nnunet_reca.cli.console import on_any_console
from nnunet_reca.cli.finding import first_line
from nnunet_reca.plans.wishes import GB, Outcome, Planned, Plans, Wishes, by, in_gb
from nnunet_reca.trainers.names import PREFIX, TrainerName, parse_trainer_name
from nnunet_reca.trainers.options import step_options

DEVICES = ("cuda", "cpu")
STOCK_TRAINER = "nnUNetTrainer"

#: bytes that a training step needs of a device: trainer, plans, configuration, dataset.json, device
Estimate = Callable[[str, Plans, str, dict[str, Any], str], int]


def step_memory(trainer: str, plans: Plans, configuration: str, dataset_json: dict[str, Any], device: str) -> int:
    """Bytes of a device that a training step needs, with what no tensor has on CUDA.

    Raises:
        ValueError: if the trainer cannot train this configuration, or in a way that cannot be estimated.
    """
    from nnunet_reca.memory import RESERVE, training_memory

    try:
        found = training_memory(trainer, plans, configuration, dataset_json, device=device)
        return found.total + RESERVE[device]
    except ValueError:
        raise
    except Exception as error:  # trainers of others may do anything
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise ValueError(f"the memory of {trainer} cannot be estimated for {configuration}: {reason}") from error


@on_any_console
def main(arguments: list[str] | None = None) -> int:
    """Plan, write the plans, and say what to do with them.

    Returns:
        0, or 1 with one line on stderr if no plans were written.
    """
    options = _parser().parse_args(arguments)
    try:
        run(options, step_memory)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"nnUNetv2_reca_plan: {error}\n")
        return 1
    return 0


def run(options: argparse.Namespace, estimate: Estimate) -> None:
    """Check, plan, write and say what was planned.

    Raises:
        ValueError: if anything does not fit; no plans are written then.
    """
    from nnunet_reca.plans.planner import find_planner, plan
    from nnunet_reca.plans.sharing import share_data
    from nnunet_reca.study.nnunet import plans_content

    say = functools.partial(print, file=sys.stdout, flush=True)  # kept: what planners print is held back
    target = _given_target(options)
    dataset, dataset_json = plan_files.data_set(options.dataset)
    suits = suited_by(options.trainer)
    planner = find_planner(options.planner)
    name = options.plans_name or plans_name(options, plan_files.default_plans(planner))
    if "__" in name:
        raise ValueError(f"expected a name of plans without __, by which nnU-Net splits names of folders, got {name!r}")

    def memory(trainer: str, plans: Plans, configuration: str) -> int:
        return estimate(trainer, plans, configuration, dataset_json, options.device)

    if options.like:
        target = _target_like(options.like, dataset, functools.partial(memory, STOCK_TRAINER), say)
    wished = tuple(dict.fromkeys(options.configurations)) if options.configurations else None
    reserve = ", with 1 GB that no tensor has" if options.device == "cuda" else ""
    say(f"{dataset}, {options.trainer}: memory of a training step on {options.device}{reserve}, estimated")
    outcome = plan(planner, dataset, Wishes(functools.partial(memory, options.trainer), target, suits, wished, say))
    before = plans_content(dataset, name)
    outcome.plans["plans_name"] = name
    share_data(outcome.plans, plan_files.others(dataset, planner, name))
    outcome.plans[plan_files.RECORD] = _record(options, outcome)
    written = plan_files.write_plans(dataset, outcome.plans, overwrite=options.overwrite)
    for line in (*_summary(outcome), written, *_commands(options, dataset, outcome.plans, before)):
        say(line)


def plans_name(options: argparse.Namespace, base: str) -> str:
    """Name of the plans: planner, network with the options that take memory, target, and the device if not CUDA.

    ``nnUNetRecaPlans_SwinUNETRReca_checkpoint_10G``; ``nnUNetResEncUNetMRecaPlans_...`` of another planner.

    Args:
        options: of the command.
        base: name of the plans that the planner makes by itself.
    """
    parsed = parse_trainer_name(options.trainer)
    network = _network(parsed) if parsed else options.trainer.removeprefix(PREFIX).strip("_") or options.trainer
    target = f"like_{options.like}" if options.like else f"{options.gb:g}G"
    device = "" if options.device == "cuda" else f"_{options.device}"
    return f"{base.removesuffix('Plans')}RecaPlans_{network}_{target}{device}"


def _network(parsed: TrainerName) -> str:
    """A trainer's name without prefix, and without the options that have no effect on memory."""
    return parsed.base.removeprefix(PREFIX) + step_options(parsed.options)


def suited_by(name: str) -> Callable[[Plans, str], object]:
    """What raises ValueError for a configuration that a trainer does not take.

    Raises:
        ValueError: if there is no such trainer.
    """
    from nnunet_reca import trainers
    from nnunet_reca.trainers.find import find_trainer

    if parse_trainer_name(name) is not None:
        return getattr(trainers, name).rewritten
    try:
        found = find_trainer(name)
    except (RuntimeError, ValueError, AssertionError) as error:  # nobody has it, or it is no trainer
        trainers.check_spelling(name)
        raise ValueError(
            f"expected a trainer that nnU-Net finds, got {name!r}; of this package: {trainers.GRAMMAR}"
        ) from error
    except Exception as error:  # a file on the way cannot be imported
        raise ValueError(f"nnU-Net's look-up of {name} fails: {type(error).__name__}: {first_line(error)}") from error
    return getattr(found, "rewritten", lambda plans, configuration: None)


def _given_target(options: argparse.Namespace) -> Callable[[str], int]:
    """Bytes for any configuration."""
    gb = options.gb or 0
    if not options.like and not (math.isfinite(gb) and gb > 0):
        raise ValueError(f"expected a memory target above 0 GB, got {gb:g}")
    return lambda configuration: int(gb * GB)


def _target_like(
    like: str, dataset: str, memory: Callable[[Plans, str], int], say: Callable[[str], None]
) -> Callable[[str], int]:
    """Bytes that nnU-Net's own network takes with other plans, by configuration; those of 3d_fullres for one that
    the other plans lack.

    Raises:
        ValueError: if there are no such plans.
    """
    from nnunet_reca.study.nnunet import plans_content

    plans = plans_content(dataset, like)
    if plans is None:
        there = ", ".join(plan_files.plans_there(dataset)) or "none yet"
        number = plan_files.number(dataset)
        raise ValueError(
            f"expected plans of {dataset}, {there}, got {like!r}; nnUNetv2_plan_experiment -d {number} makes plans"
        )

    @functools.cache
    def target(configuration: str) -> int:
        other = next((name for name in (configuration, "3d_fullres") if name in plans["configurations"]), None)
        if other is None:
            raise ValueError(f"expected {like} to have {configuration}, got {', '.join(plans['configurations'])}")
        found = memory(plans, other)
        say(f"  {configuration}: nnU-Net's own network takes {in_gb(found)} with {other} of {like}: the target")
        return found

    return target


def _record(options: argparse.Namespace, outcome: Outcome) -> dict[str, Any]:
    """What the plans were made for, kept in their file."""
    memory = {
        configuration: {"target_bytes": planned.target, "estimated_bytes": planned.memory}
        for configuration, planned in outcome.planned.items()
    }
    return {"trainer": options.trainer, "device": options.device, "training_step": memory}


def _summary(outcome: Outcome) -> list[str]:
    """A line for each configuration."""
    from nnunet_reca.study.nnunet import resolved

    lines = [_line(name, resolved(outcome.plans, name), planned) for name, planned in outcome.planned.items()]
    return ["", *lines, *(f"{name} is left out: {reason}" for name, reason in outcome.left_out.items())]


def _line(name: str, made: dict[str, Any], planned: Planned) -> str:
    limits = [
        *(["the patch covers the images, or is nnU-Net's largest"] if planned.largest_patch else []),
        *(["the batch is the largest that nnU-Net allows for this data set"] if planned.largest_batch else []),
    ]
    more = f"; {', '.join(limits)}" if limits else ""
    more += ": more memory changes nothing" if len(limits) == 2 else ""
    size = f"patch {by(made['patch_size'])}, batch {made['batch_size']}"
    return f"{name}: {size}: {in_gb(planned.memory)} of {in_gb(planned.target)}{more}"


def _commands(options: argparse.Namespace, dataset: str, plans: Plans, before: Plans | None) -> list[str]:
    """What to run next, after plans of this name that were there before."""
    number, name = plan_files.number(dataset), plans["plans_name"]
    missing = plan_files.unprocessed(dataset, plans, before)
    device = "" if options.device == "cuda" else f" -device {options.device}"
    configuration = next((c for c in ("3d_fullres", *plans["configurations"]) if c in plans["configurations"]), "")
    train = f"nnUNetv2_train {number} {configuration} FOLD -tr {options.trainer} -p {name}{device}"
    preprocess = f"nnUNetv2_preprocess -d {number} -plans_name {name} -c {' '.join(missing)}"
    return [f"now: {preprocess}", f"then: {train}"] if missing else [f"now: {train}"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nnUNetv2_reca_plan",
        description="Plans as nnUNetv2_plan_experiment, but with patch and batch for the memory of the network that "
        "is trained: the peak of its training step is estimated, no GPU is needed. On CUDA the target is the memory "
        "of the card, of which 1 GB is left to the driver and the allocator; on the CPU it is what the step takes "
        "above the process's start. A GB is 10^9 bytes. The plans get a name of their own, for -p of all nnU-Net "
        "commands. The data set needs a fingerprint.",
    )
    add = parser.add_argument
    add("-d", dest="dataset", required=True, help="data set name or id")
    add("-tr", dest="trainer", required=True, help="trainer, such as nnUNetTrainerSwinUNETRReca; any of nnU-Net")
    memory = parser.add_mutually_exclusive_group(required=True)
    memory.add_argument("-gpu_memory_target", dest="gb", type=float, metavar="GB", help="that a training step may take")
    memory.add_argument(
        "--like",
        metavar="PLANS",
        help="as much as nnU-Net's own network takes with these plans, for each configuration",
    )
    add("-c", dest="configurations", nargs="+", metavar="CONFIGURATION", help="default: all that the network takes")
    add("-pl", dest="planner", default="ExperimentPlanner", help="nnU-Net planner to begin with; default %(default)s")
    add("-overwrite_plans_name", dest="plans_name", metavar="NAME", help="default nnUNetRecaPlans_NETWORK_TARGET")
    add("-device", "--device", dest="device", choices=DEVICES, default="cuda", help="to estimate for; default cuda")
    add("--overwrite", action="store_true", help="replace other plans of this name")
    return parser


if __name__ == "__main__":
    sys.exit(main())

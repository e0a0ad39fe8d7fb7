"""Plans of each network for several targets of memory, on data sets that have a fingerprint: patch, batch, estimate.

Nothing is written but the result. nnU-Net's own default plan of each configuration stands beside them. A run goes on
where an earlier one of the same ``--output`` ended. Tables are Markdown; the last line is one JSON object. Run::

    nnUNetv2_extract_fingerprint -d 4 11 12
    python benchmarks/planning.py -d 4 11 12 --output benchmarks/results/planning.json
    python benchmarks/planning.py --show benchmarks/results/planning.json
"""

import argparse
import contextlib
import functools
import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

TRAINERS = [
    *(f"nnUNetTrainer{network}Reca" for network in ("SwinUNETR", "NnFormer", "SwinUnet", "DATransUnet", "PrimusV3S")),
    "nnUNetTrainerSwinUNETRReca_checkpoint",
    "nnUNetTrainer",
]
TARGETS = (4, 8, 24, 80)


def planned(
    dataset: str, configurations: list[str], trainer: str, planner: str, device: str, targets: tuple[float, ...]
) -> list[dict[str, Any]]:
    """A row for each target and configuration; estimates are asked for once over all targets."""
    from nnunet_reca.cli import plan as command
    from nnunet_reca.cli.plan_files import data_set
    from nnunet_reca.plans.planner import find_planner, plan
    from nnunet_reca.plans.wishes import GB, Wishes
    from nnunet_reca.study.nnunet import resolved

    name, dataset_json = data_set(dataset)
    known: dict[str, int] = {}

    def memory(plans: dict[str, Any], configuration: str) -> int:
        made = resolved(plans, configuration)
        about = [made[key] for key in ("patch_size", "batch_size", "architecture")]
        key = json.dumps([*about, made.get("previous_stage")])
        if key not in known:
            known[key] = command.step_memory(trainer, plans, configuration, dataset_json, device)
        return known[key]

    rows = []
    for gb, wished in itertools.product(targets, configurations):
        target = functools.partial(lambda bytes_, _: bytes_, int(gb * GB))
        about = {"dataset": name, "trainer": trainer, "planner": planner, "device": device, "target_gb": gb}
        try:
            outcome = plan(find_planner(planner), name, Wishes(memory, target, command.suited_by(trainer), (wished,)))
        except ValueError as error:
            rows.append({**about, "configuration": wished, "error": str(error)})
            continue
        for configuration, found in outcome.planned.items():
            made = resolved(outcome.plans, configuration)
            more = {
                "configuration": configuration,
                "patch_size": made["patch_size"],
                "batch_size": made["batch_size"],
                "estimated_gb": round(found.memory / GB, 3),
                "largest_patch": found.largest_patch,
                "largest_batch": found.largest_batch,
            }
            rows.append({**about, **more})
    for row in rows:
        row["estimates"] = len(known)
    return rows


def nnunets_own(dataset: str, planner: str) -> list[dict[str, Any]]:
    """What nnU-Net plans for its own network."""
    from nnunet_reca.cli.plan_files import data_set
    from nnunet_reca.plans.planner import find_planner

    class Kept(find_planner(planner)):  # type: ignore[misc]
        def save_plans(self, plans: dict[str, Any]) -> None:
            self.kept = plans

    name, _ = data_set(dataset)
    with contextlib.redirect_stdout(io.StringIO()):
        stock = Kept(name)
        stock.plan_experiment()
    return [
        {
            "dataset": name,
            "trainer": "nnU-Net's own plan",
            "planner": planner,
            "configuration": configuration,
            "patch_size": [int(side) for side in made["patch_size"]],
            "batch_size": int(made["batch_size"]),
        }
        for configuration, made in stock.kept["configurations"].items()
        if "patch_size" in made
    ]


def show(rows: list[dict[str, Any]]) -> None:
    """A table for each data set and configuration: networks by targets."""
    targets = sorted({row["target_gb"] for row in rows if "target_gb" in row})
    for dataset, configuration in dict.fromkeys((row["dataset"], row["configuration"]) for row in rows):
        here = [row for row in rows if (row["dataset"], row["configuration"]) == (dataset, configuration)]
        own = [row for row in here if "target_gb" not in row]
        print(f"\n**{dataset}, `{configuration}`**" + "".join(f"; nnU-Net plans {size(row)}" for row in own) + "\n")
        print(f"| trainer | {' | '.join(f'{gb:g} GB' for gb in targets)} |\n| --- |{' --- |' * len(targets)}")
        for trainer in dict.fromkeys(row["trainer"] for row in here if "target_gb" in row):
            cells = [row for row in here if row["trainer"] == trainer]
            if any("use the configuration 2d" in row.get("error", "") for row in cells):
                continue
            shown = [" ".join(cell(row) for row in cells if row["target_gb"] == gb) or "–" for gb in targets]
            print(f"| `{trainer.removeprefix('nnUNetTrainer') or trainer}` | {' | '.join(shown)} |")


def size(row: dict[str, Any]) -> str:
    sides = row["patch_size"]
    same = len(set(sides)) == 1
    return (
        f"{sides[0]}{'²³'[len(sides) - 2]}" * same + "×".join(map(str, sides)) * (not same) + f", {row['batch_size']}"
    )


def cell(row: dict[str, Any]) -> str:
    """Patch, batch and estimate; an asterisk where more memory changes nothing."""
    if "error" in row:
        return f"needs {row['error'].split('at least ')[-1].split(' GB')[0]} GB"
    most = row["largest_patch"] and row["largest_batch"]
    return f"{size(row)} ({row['estimated_gb']:.1f}){'*' if most else ''}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("-d", nargs="+", default=[], help="data sets")
    add("-tr", nargs="+", default=TRAINERS, help="trainers")
    add("-pl", default="ExperimentPlanner", help="planner")
    add("--targets", nargs="+", type=float, default=TARGETS, help="GB")
    add("--device", choices=("cuda", "cpu"), default="cuda", help="to estimate for")
    add("--output", type=Path, help="JSON file")
    add("--show", type=Path, help="only print the tables of a JSON file")
    options = parser.parse_args()
    file = options.show or options.output
    rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8")) if file and file.is_file() else []

    def extend(trainer: str, dataset: str, work: Callable[[], list[dict[str, Any]]]) -> None:
        if any(row["trainer"] == trainer and row["dataset"].startswith(dataset) for row in rows):
            return
        rows.extend(work())
        if options.output:
            options.output.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")

    for dataset in options.d if not options.show else ():
        name = f"Dataset{int(dataset):03d}" if dataset.isdecimal() else dataset
        extend("nnU-Net's own plan", name, functools.partial(nnunets_own, dataset, options.pl))
        for trainer in options.tr:
            own = (row for row in rows if row["dataset"].startswith(name) and "target_gb" not in row)
            configurations = [row["configuration"] for row in own if row["configuration"] in ("2d", "3d_fullres")]
            arguments = (dataset, configurations, trainer, options.pl, options.device, tuple(options.targets))
            extend(trainer, name, functools.partial(planned, *arguments))
    show(rows)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()

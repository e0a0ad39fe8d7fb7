"""What docs/evidence.md needs beside the stock commands: halves of the data, cuts, one file of it all.

    python benchmarks/evidence.py halves 4
    python benchmarks/evidence.py cuts 4 3d_fullres 0 TRAINER ... --cases 10 -o CUTS
    python benchmarks/evidence.py collect COMPARISON --cuts CUTS -o benchmarks/results/evidence_NAME.json

``evidence_report.py`` makes the page's tables and pictures of such files.
``nnUNet_raw``, ``nnUNet_preprocessed`` and ``nnUNet_results`` are nnU-Net's.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import mean
from typing import Any


def dataset_name(dataset: str) -> str:
    """Full name of a data set, asked by number or name."""
    from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name

    return str(maybe_convert_to_dataset_name(dataset))


def halves(datasets: Iterable[str]) -> None:
    """Write ``splits_final.json``: fold 0 trains on even places of the sorted case names, fold 1 on odd ones."""
    for dataset in datasets:
        folder = Path(os.environ["nnUNet_preprocessed"]) / dataset_name(dataset)
        cases = sorted(file.name.split(".")[0] for file in (folder / "gt_segmentations").iterdir())
        even, odd = cases[0::2], cases[1::2]
        splits = [{"train": even, "val": odd}, {"train": odd, "val": even}]
        file = folder / "splits_final.json"
        if file.exists() and json.loads(file.read_text(encoding="utf-8")) != splits:
            sys.exit(f"expected no other splits in {file}; results of theirs would be mixed with these")
        file.write_text(json.dumps(splits, indent=1), encoding="utf-8")
        print(f"{folder.name}: {len(even)} and {len(odd)} cases")


def cuts(dataset: str, configuration: str, fold: int, trainers: list[str], number: int, output: Path) -> None:
    """Ask ``nnUNetv2_reca_explain`` about evenly spaced cases that the fold does not train on."""
    name = dataset_name(dataset)
    raw, preprocessed = (Path(os.environ[f"nnUNet_{kind}"]) / name for kind in ("raw", "preprocessed"))
    ending = json.loads((raw / "dataset.json").read_text(encoding="utf-8"))["file_ending"]
    held_out = json.loads((preprocessed / "splits_final.json").read_text(encoding="utf-8"))[fold]["val"]
    chosen = held_out[:: max(1, len(held_out) // number)][:number]
    for trainer in trainers:
        model = Path(os.environ["nnUNet_results"]) / name / f"{trainer}__nnUNetPlans__{configuration}"
        for case in chosen:
            folder = output / trainer / case
            if (folder / "explain.json").exists():
                continue
            words = ["-i", raw / "imagesTr" / case, "-m", model, "-f", fold, "-o", folder, "--disable_tta"]
            words += ["-gt", raw / "labelsTr" / f"{case}{ending}", "-device", "cpu", "--overwrite"]
            subprocess.run([sys.executable, "-m", "nnunet_reca.cli.explain", *map(str, words)], check=True)
        print(trainer, json.dumps(cuts_of(output / trainer)), flush=True)


def cuts_of(folder: Path) -> dict[str, Any]:
    """Means over cases and labels of what cuts change, and over cases of what layers' logits are."""
    changed: dict[str, list[tuple[float, float]]] = defaultdict(list)
    logits: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for case in sorted(folder.iterdir()):
        for row in csv.DictReader((case / "cuts.csv").open(encoding="utf-8")):
            if row["dice_to_full_model"] and row["dice_to_reference_change"]:
                changed[row["cut"]].append((float(row["dice_to_full_model"]), float(row["dice_to_reference_change"])))
        for row in csv.DictReader((case / "logits.csv").open(encoding="utf-8")):
            key = f"{row['chain']} {row['layer']}/{row['layers']} {row['attention']}"
            logits[key].append((float(row["logits_standard_deviation"]), float(row["relative_entropy"])))
    names = ("dice_to_full_model", "dice_to_reference_change"), ("logits_standard_deviation", "relative_entropy")
    means = [
        {key: dict(zip(name, map(mean, zip(*rows, strict=True)), strict=True)) for key, rows in part.items()}
        for name, part in zip(names, (changed, logits), strict=True)
    ]
    return {"cases": len(list(folder.iterdir())), "cuts": means[0], "logits": means[1]}


def collect(comparison: Path, also: list[Path], cut: Path | None, output: Path) -> None:
    """One file of what a comparison found, case by case, of what others found, and of what cuts did."""
    import yaml

    results = json.loads((comparison / "results.json").read_text(encoding="utf-8"))
    keep = ("dataset", "unit", "folds", "versions", "summary", "models", "means", "differences", "cost")
    content = {key: results[key] for key in keep if key in results}
    study = comparison.resolve().parents[1] / "study.yaml"
    if study.exists():
        content["study"] = yaml.safe_load(study.read_text(encoding="utf-8"))
    with (comparison / "cases.csv").open(encoding="utf-8") as file:
        content["dice"] = _by_case(csv.DictReader(file))
    for other in also:
        compared = json.loads((other / "results.json").read_text(encoding="utf-8"))
        content.setdefault("also", {})[other.name] = {key: compared[key] for key in ("summary", "means", "differences")}
    if cut is not None:
        content["cuts"] = {folder.name: cuts_of(folder) for folder in sorted(cut.iterdir())}
    output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _by_case(rows: Iterable[dict[str, str]]) -> dict[str, dict[str, dict[str, float]]]:
    """Dice by model and run, label, and case."""
    found: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        if row["dice"]:
            model = row["model"].split("__")[0] + (f", seed {row['run']}" if row["run"].isdigit() else "")
            found[model][row["label"]][row["case"]] = round(float(row["dice"]), 5)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(dest="task", required=True)
    task = tasks.add_parser("halves", help="write splits_final.json")
    task.add_argument("datasets", nargs="+")
    task = tasks.add_parser("cuts", help="explain trained models")
    for name in ("dataset", "configuration"):
        task.add_argument(name)
    task.add_argument("fold", type=int)
    task.add_argument("trainers", nargs="+")
    task.add_argument("--cases", type=int, default=10)
    task.add_argument("-o", type=Path, required=True)
    task = tasks.add_parser("collect", help="one JSON file of a comparison")
    task.add_argument("comparison", type=Path, help="its folder; a study has it below a data set's name")
    task.add_argument("--also", type=Path, nargs="+", default=[], help="folders of further comparisons")
    task.add_argument("--cuts", type=Path)
    task.add_argument("-o", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.task == "halves":
        halves(arguments.datasets)
    elif arguments.task == "cuts":
        cuts(*(getattr(arguments, name) for name in ("dataset", "configuration", "fold", "trainers", "cases", "o")))
    else:
        collect(arguments.comparison, arguments.also, arguments.cuts, arguments.o)


if __name__ == "__main__":
    main()

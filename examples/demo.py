"""The whole nnU-Net workflow with SwinUNETR-RecA on 36 hippocampus MRIs, through the stock commands.

Plans, trains fold 0, validates, predicts 12 scans that no training has seen, evaluates, draws an overlay. Everything
is written below ``--folder`` (default ``.demo``); the last line printed is one JSON object.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from overlay import draw_overlay
from tqdm import tqdm

from nnunet_reca.cli.console import make_printable

EXAMPLE = Path(__file__).resolve().parent / "Dataset004_Hippocampus"
DATASET, CONFIGURATION, FOLD = "4", "3d_fullres", "0"
TRAINER = "nnUNetTrainerSwinUNETRReca_tiny_{epochs}epochs"
EPOCHS = 10


def run(title: str, log: Path, *command: str, watch: Callable[[str], None] = lambda line: None) -> None:
    """Run a stock command, its output going to a log file; ``watch`` sees each line."""
    print(f"\n{title}\n  $ {' '.join(command)}", flush=True)
    executable = Path(sys.executable).parent / command[0]
    words = [str(executable), *command[1:]]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace"
    )
    assert process.stdout is not None
    lines = []
    with log.open("w", encoding="utf-8") as file:
        for line in process.stdout:
            file.write(line)
            lines.append(line)
            watch(line)
    if process.wait():
        sys.exit(f"{''.join(lines[-20:])}\n{command[0]} failed; its whole output is in {log}")


def train(log: Path, epochs: int, device: str) -> None:
    """Train and validate, with a bar that moves by epochs and shows nnU-Net's pseudo Dice."""
    command = ("nnUNetv2_train", DATASET, CONFIGURATION, FOLD, "-tr", TRAINER.format(epochs=epochs), "-device", device)
    bar = tqdm(total=epochs, unit="epoch", desc="  training", dynamic_ncols=True, mininterval=0, delay=1e-3)

    def watch(line: str) -> None:
        if "Pseudo dice" in line:
            dice = [float(d) for d in re.findall(r"\d\.\d+", line.split("[", 1)[1])]
            bar.set_postfix_str("pseudo Dice " + " ".join(f"{d:.2f}" for d in dice), refresh=False)
        elif "Epoch time" in line:
            bar.update()
        elif "Training done" in line:
            bar.close()
            print("  validating ...", flush=True)

    run("Train and validate", log, *command, watch=watch)
    bar.close()


def table(title: str, summary: Path, labels: dict[str, int]) -> float:
    """Print Dice per label of an nnU-Net ``summary.json``; returns the mean over labels."""
    result = json.loads(summary.read_text(encoding="utf-8"))
    print(f"\n{title} ({len(result['metric_per_case'])} cases)\n\n| label | Dice |\n| --- | --- |")
    for name, value in labels.items():
        print(f"| {name} | {result['mean'][str(value)]['Dice']:.4f} |")
    mean = result["foreground_mean"]["Dice"]
    print(f"| **mean** | **{mean:.4f}** |", flush=True)
    return mean


def _cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> None:
    make_printable(sys.stdout, sys.stderr)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(".demo"), help="where to work; replaced if it exists")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"length of the training (default {EPOCHS})")
    arguments = parser.parse_args()
    if arguments.epochs < 1:
        parser.error(f"expected --epochs of at least 1, got {arguments.epochs}")

    start = time.time()
    folder = arguments.folder.resolve()
    marker = folder / ".nnunet_reca_demo"
    if folder.exists() and not marker.exists() and (folder.is_file() or any(folder.iterdir())):
        parser.error(f"{folder} exists and is not from an earlier demo; choose another --folder")
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("raw", "preprocessed", "results"):
        (folder / name).mkdir(parents=True)
        os.environ[f"nnUNet_{name}"] = str(folder / name)
    marker.touch()
    for name in ("nnUNet_n_proc_DA", "nnUNet_def_n_proc"):  # data augmentation and export workers
        os.environ.setdefault(name, str(min(8, _cpus())))
    os.environ.pop("NNUNET_RECA_NO_DISCOVERY", None)
    data = folder / "raw" / EXAMPLE.name
    shutil.copytree(EXAMPLE, data)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    trainer = TRAINER.format(epochs=arguments.epochs)
    labels = json.loads((data / "dataset.json").read_text(encoding="utf-8"))["labels"]
    labels.pop("background")

    options = ("-c", CONFIGURATION, "-np", "2", "--verify_dataset_integrity")
    run("Plan and preprocess", folder / "plan.log", "nnUNetv2_plan_and_preprocess", "-d", DATASET, *options)
    train(folder / "train.log", arguments.epochs, device)
    model = folder / "results" / EXAMPLE.name / f"{trainer}__nnUNetPlans__{CONFIGURATION}"
    table("Validation, fold 0", model / f"fold_{FOLD}" / "validation" / "summary.json", labels)

    predictions = folder / "predictions"
    options = ("-d", DATASET, "-c", CONFIGURATION, "-f", FOLD, "-tr", trainer, "-device", device)
    images = ("-i", str(data / "imagesTs"), "-o", str(predictions))
    run("Predict scans it has not seen", folder / "predict.log", "nnUNetv2_predict", *images, *options)
    files = ("-djfile", str(model / "dataset.json"), "-pfile", str(model / "plans.json"))
    folders = (str(data / "labelsTs"), str(predictions))
    run("Evaluate them", folder / "evaluate.log", "nnUNetv2_evaluate_folder", *folders, *files)
    mean = table("Test scans", predictions / "summary.json", labels)

    picture = draw_overlay(data, predictions, labels, folder / "overlay.png")
    print(f"\nOverlay: {picture}\nModel:   {model}")
    print(json.dumps({"mean_dice": round(mean, 4), "seconds": round(time.time() - start, 1)}))


if __name__ == "__main__":
    main()

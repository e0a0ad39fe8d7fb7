"""Peak memory and time of nnUNetv2_reca_compare on many CT-size cases, summed over all its processes.

Writes CT images (512 x 512 x 150, int16) and two models' validations of synthetic label maps (uint8: a body that fills
most of the volume, and three organs in it), compares them with overlays, and samples the memory of the process and its
children: PSS, in which a page shared by n processes counts 1/n for each, so that the sum is what the machine gives;
Linux only. The last line is one JSON object.
Run: ``python benchmarks/compare_memory.py [--cases 200] [--processes 2]``
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from nnunetv2.evaluation.evaluate_predictions import compute_tp_fp_fn_tn, save_summary_json

DATASET = "Dataset998_Memory"
LABELS = {"background": 0, "body": 1, "liver": 2, "spleen": 3, "kidney": 4}
#: radius of each by the side of the volume
PARTS = {1: 0.45, 2: 0.16, 3: 0.08, 4: 0.05}
TRAINERS = ("nnUNetTrainerA", "nnUNetTrainerB")


def volume(shape: tuple[int, int, int], seed: int, shift: int) -> np.ndarray:
    """Ellipsoids, the body in the middle and organs at random places, all moved by ``shift`` voxels."""
    generator = np.random.default_rng(seed)
    array = np.zeros(shape, dtype=np.uint8)
    for label, part in PARTS.items():
        radii = [max(3, int(side * part)) for side in shape]
        middle = [side // 2 for side in shape]
        if label > 1:
            middle = [int(generator.integers(r + 1, side - r - 4)) for r, side in zip(radii, shape, strict=True)]
        axes = np.ogrid[tuple(slice(-r, r + 1) for r in radii)]
        inside = sum((a / r) ** 2 for a, r in zip(axes, radii, strict=True)) <= 1
        box = tuple(
            slice(m - r + (shift if n == 2 else 0), m + r + 1 + (shift if n == 2 else 0))
            for n, (m, r) in enumerate(zip(middle, radii, strict=True))
        )
        array[box][inside] = label
    return array


def channel(file: str) -> str:
    """Name of the first channel's file."""
    return file.replace(".nii.gz", "_0000.nii.gz")


def write(file: Path, array: np.ndarray) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.8, 0.8, 3.0))
    sitk.WriteImage(image, str(file), True)


def metrics(reference: np.ndarray, prediction: np.ndarray) -> dict[int, dict[str, float]]:
    found = {}
    for label in PARTS:
        tp, fp, fn, _ = compute_tp_fp_fn_tn(reference == label, prediction == label)
        found[label] = {"Dice": float(2 * tp / (2 * tp + fp + fn))}
    return found


def hounsfield(labels: np.ndarray, seed: int) -> np.ndarray:
    """Hounsfield units with noise."""
    generator = np.random.default_rng(seed)
    noise = generator.integers(-30, 30, labels.shape, dtype=np.int16)
    return noise + np.array([-1000, 0, 60, 50, 40], dtype=np.int16)[labels]


def generate(folder: Path, cases: int, shape: tuple[int, int, int]) -> None:
    """Few distinct volumes, linked under many names: what is read is as large, what is stored is not."""
    distinct = min(cases, 4)
    references = folder / "preprocessed" / DATASET / "gt_segmentations"
    images = folder / "raw" / DATASET / "imagesTr"
    for made in (references, images):
        made.mkdir(parents=True)
    patch = {
        "batch_size": 2,
        "patch_size": [64, 128, 128],
        "architecture": {"network_class_name": "", "arch_kwargs": {}},
    }
    plans = {
        "plans_name": "nnUNetPlans",
        "label_manager": "LabelManager",
        "image_reader_writer": "SimpleITKIO",
        "configurations": {"3d_fullres": patch},
    }
    dataset = {"channel_names": {"0": "CT"}, "labels": LABELS, "numTraining": cases, "file_ending": ".nii.gz"}
    (images.parent / "dataset.json").write_text(json.dumps(dataset), encoding="utf-8")
    entries: dict[str, list[dict]] = {name: [] for name in TRAINERS}
    folders = {}
    for name in TRAINERS:
        model = folder / "results" / DATASET / f"{name}__nnUNetPlans__3d_fullres"
        folders[name] = model / "fold_0" / "validation"
        folders[name].mkdir(parents=True)
        (model / "plans.json").write_text(json.dumps(plans), encoding="utf-8")
        (model / "dataset.json").write_text(json.dumps(dataset), encoding="utf-8")
        (model / "fold_0" / "checkpoint_final.pth").touch()
    found = {}
    for case in range(cases):
        file = f"case_{case:04d}.nii.gz"
        first = f"case_{case % distinct:04d}.nii.gz"
        if case < distinct:
            reference = volume(shape, case, 0)
            write(references / file, reference)
            write(images / channel(file), hounsfield(reference, case))
        else:
            os.link(references / first, references / file)
            os.link(images / channel(first), images / channel(file))
        for shift, name in enumerate(TRAINERS, start=1):
            if case < distinct:
                prediction = volume(shape, case, shift)
                write(folders[name] / file, prediction)
                found[name, case] = metrics(reference, prediction)
            else:
                os.link(folders[name] / first, folders[name] / file)
            entries[name].append(
                {"prediction_file": file, "reference_file": file, "metrics": found[name, case % distinct]}
            )
    for name in TRAINERS:
        save_summary_json(
            {"metric_per_case": entries[name], "mean": {}, "foreground_mean": {}}, str(folders[name] / "summary.json")
        )


def memory(root: int) -> tuple[float, int]:
    """PSS in MiB of a process and all below it, and their number."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = int((entry / "stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    total, seen, waiting = 0.0, 0, [root]
    while waiting:
        process = waiting.pop()
        waiting += children.get(process, [])
        try:
            text = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8")
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 2**10
        seen += 1
    return total, seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--shape", type=int, nargs=3, default=(150, 512, 512))
    parser.add_argument("--folder", type=Path, help="for the volumes, deleted afterwards; default: a temporary one")
    arguments = parser.parse_args()
    if arguments.folder is not None:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=arguments.folder))
    try:
        generate(folder, arguments.cases, tuple(arguments.shape))
        environment = os.environ | {f"nnUNet_{n}": str(folder / n) for n in ("raw", "preprocessed", "results")}
        words = [sys.executable, "-m", "nnunet_reca.cli.compare", "-d", "998", "-tr", *TRAINERS, "-f", "0"]
        words += ["-np", str(arguments.processes), "-o", str(folder / "report")]
        start, peak, processes = time.perf_counter(), 0.0, 0
        running = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL)
        while running.poll() is None:
            now, count = memory(running.pid)
            peak, processes = max(peak, now), max(processes, count)
            time.sleep(0.1)
        seconds = time.perf_counter() - start
        assert running.returncode == 0 and (folder / "report" / "report.html").is_file()
    finally:
        shutil.rmtree(folder)
    row = {"cases": arguments.cases, "shape": list(arguments.shape), "processes": arguments.processes}
    row |= {"peak_mib": round(peak), "processes_seen": processes, "seconds": round(seconds, 1)}
    print(f"{row['cases']} cases x {len(TRAINERS)} models: {row['peak_mib']} MiB at most, {row['seconds']} s")
    print(json.dumps({"benchmark": "compare_memory", **row}))


if __name__ == "__main__":
    main()

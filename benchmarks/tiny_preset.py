"""Quality against time of candidates for the ``tiny`` size, on the example data (run ``make demo`` first).

Trains SwinUNETR-RecA on fold 0 of the demo's preprocessed data, once per candidate, through nnU-Net's own training, and
prints validation Dice and seconds. Each candidate is ``feature_size/heads/learning_rate/epochs``, for example::

    python benchmarks/tiny_preset.py 12/1,2,4,8/4e-3/12 24/2,4,8,16/2e-3/7

The last line is one JSON object. Timings are of the whole training and validation, data augmentation included.
"""

import argparse
import dataclasses
import json
import os
import tempfile
import time
from pathlib import Path

import torch


def measure(candidate: str, results: Path) -> dict[str, float | str]:
    """Train one candidate; its preset and recipe replace those of the tiny size in this process."""
    from nnunetv2.run.run_training import run_training

    from nnunet_reca.plans.networks import NETWORKS
    from nnunet_reca.trainers.recipe import RECIPES

    feature_size, heads, rate, epochs = candidate.split("/")
    preset = {"feature_size": int(feature_size), "num_heads": [int(h) for h in heads.split(",")]}
    swin_unetr = NETWORKS["SwinUNETR"]
    sizes = {**swin_unetr.sizes, "tiny": {**swin_unetr.sizes["tiny"], **preset}}
    NETWORKS["SwinUNETR"] = dataclasses.replace(swin_unetr, sizes=sizes)
    RECIPES["tiny"] = dataclasses.replace(RECIPES["tiny"], initial_lr=float(rate))
    trainer = f"nnUNetTrainerSwinUNETRReca_tiny_{epochs}epochs"
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    start = time.time()
    run_training("4", "3d_fullres", 0, trainer, device=device)
    seconds = time.time() - start
    summary = next(results.rglob("validation/summary.json"))
    return {
        "candidate": candidate,
        "validation_dice": round(json.loads(summary.read_text(encoding="utf-8"))["foreground_mean"]["Dice"], 4),
        "seconds": round(seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("candidates", nargs="+", help="feature_size/heads/learning_rate/epochs")
    parser.add_argument("--demo", type=Path, default=Path(".demo"), help="folder of the demo")
    arguments = parser.parse_args()
    for name in ("raw", "preprocessed"):
        os.environ[f"nnUNet_{name}"] = str((arguments.demo / name).resolve())
    os.environ.setdefault("nnUNet_n_proc_DA", str(max(1, min(8, os.cpu_count() or 1))))
    torch.set_num_threads(os.cpu_count() or 1)
    rows = []
    for candidate in arguments.candidates:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["nnUNet_results"] = folder
            rows.append(measure(candidate, Path(folder)))
    print("\n| candidate | validation Dice | seconds |\n| --- | --- | --- |")
    for row in rows:
        print(f"| {row['candidate']} | {row['validation_dice']} | {row['seconds']} |")
    print(json.dumps({"rows": rows, "torch": torch.__version__, "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()

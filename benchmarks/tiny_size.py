"""Quality against time of candidates for a ``tiny`` size, on the example data (run ``make demo`` first).

Trains the Recurrent-Attention trainer of a network on fold 0 of the demo's preprocessed data, once per candidate,
through nnU-Net's own training, and prints validation Dice and seconds. A candidate is a network, what differs from its
tiny size, the learning rate as trainers' names have it and the epochs of 50 steps,
``NETWORK/NAME=VALUE;.../LEARNING_RATE/EPOCHS``, for example::

    python benchmarks/tiny_size.py "SwinUNETR/feature_size=12;num_heads=[1,2,4,8]/4en3/12" "PrimusV3S/depth=4/2en3/12"

The last line is one JSON object. Timings are of the whole training and validation, data augmentation included.
"""

import argparse
import dataclasses
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch


def measure(candidate: str, results: Path, twin: str, configuration: str) -> dict[str, Any]:
    """Train one candidate; its size replaces the tiny one in this process."""
    from nnunetv2.run.run_training import run_training

    from nnunet_reca.plans.networks import NETWORKS

    name, changes, rate, epochs = candidate.split("/")
    changed = {key: json.loads(value) for key, value in (c.split("=") for c in changes.split(";") if c)}
    network = NETWORKS[name]
    sizes = {**network.sizes, "tiny": {**network.sizes["tiny"], **changed}}
    NETWORKS[name] = dataclasses.replace(network, sizes=sizes)
    trainer = f"nnUNetTrainer{name}{twin}_tiny_lr{rate}_seed0_{epochs}epochs"
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    start = time.time()
    run_training("4", configuration, 0, trainer, device=device)
    seconds = time.time() - start
    NETWORKS[name] = network
    summary = next(results.rglob("validation/summary.json"))
    dice = json.loads(summary.read_text(encoding="utf-8"))["foreground_mean"]["Dice"]
    return {"candidate": candidate, "validation_dice": round(dice, 4), "seconds": round(seconds, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("candidates", nargs="+", help="NETWORK/NAME=VALUE;.../LEARNING_RATE/EPOCHS")
    parser.add_argument("--demo", type=Path, default=Path(".demo"), help="folder of the demo")
    parser.add_argument("--twin", choices=("Reca", ""), default="Reca", help="default Reca")
    parser.add_argument("--configuration", default="3d_fullres", help="default 3d_fullres")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="default all")
    arguments = parser.parse_args()
    for name in ("raw", "preprocessed"):
        os.environ[f"nnUNet_{name}"] = str((arguments.demo / name).resolve())
    os.environ.setdefault("nnUNet_n_proc_DA", str(max(1, min(8, os.cpu_count() or 1))))
    torch.set_num_threads(arguments.threads)
    rows = []
    for candidate in arguments.candidates:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["nnUNet_results"] = folder
            rows.append(measure(candidate, Path(folder), arguments.twin, arguments.configuration))
            print(json.dumps(rows[-1]), flush=True)
    print("\n| candidate | validation Dice | seconds |\n| --- | --- | --- |")
    for row in rows:
        print(f"| {row['candidate']} | {row['validation_dice']} | {row['seconds']} |")
    about = {"twin": arguments.twin or "SA", "configuration": arguments.configuration}
    print(json.dumps({"rows": rows, **about, "torch": torch.__version__, "threads": arguments.threads}))


if __name__ == "__main__":
    main()

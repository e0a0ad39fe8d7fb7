"""A short epoch of every network's trainer on random data, and the peak memory of a step next to its estimate.

The trainer is nnU-Net's in everything, mixed precision, deep supervision and optimizer included; data are noise and are
made once. ``epoch``: seconds of the first step, in which compilation lies, and of the others, and losses, which have to
be finite. ``memory``: MiB that the second step adds to what the network takes, as in ``step.py``, and the same by
:func:`nnunet_reca.memory.training_memory`. The last line is one JSON object. For example::

    python benchmarks/epoch.py --device cuda --compile --kinds epoch
    python benchmarks/epoch.py --small --kinds memory        # a small patch, on the CPU
"""

import contextlib
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measure
import torch

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
#: network -> configuration of :func:`plans`
NETWORKS = {"SwinUNETR": "3d", "NnFormer": "3d", "SwinUnet": "2d", "DATransUnet": "2d", "PrimusS": "3d"}
#: of --small, which takes no time -> otherwise; sides and poolings of the patch
PATCHES = {"3d": ((32, 3), (96, 5)), "2d": ((32, 4), (224, 5))}


def plans(small: bool) -> dict[str, Any]:
    """Configurations of a plan with one patch for each number of axes."""
    from support.plan_factory import make_configuration

    found = {}
    for name, sizes in PATCHES.items():
        side, poolings = sizes[not small]
        axes = int(name[0])
        found[name] = make_configuration([side] * axes, [[1] * axes] + [[2] * axes] * poolings, batch_dice=False)
    return found


def trainer_name(network: str, small: bool) -> str:
    return f"nnUNetTrainer{network}Reca{'_tiny' * small}"


class Training:
    """A trainer on the device, with a batch of noise."""

    def __init__(self, network: str, options: dict[str, Any], folder: Path) -> None:
        for name in ("raw", "preprocessed", "results"):
            (folder / name).mkdir(exist_ok=True)
            os.environ[f"nnUNet_{name}"] = str(folder / name)
        os.environ["nnUNet_compile"] = "t" if options["compile"] else "f"
        from support.trainer_factory import initialized_trainer, random_batch

        torch.manual_seed(0)
        name, planned = trainer_name(network, options["small"]), plans(options["small"])
        with contextlib.redirect_stdout(io.StringIO()):
            self.trainer = initialized_trainer(
                folder, name, NETWORKS[network], planned=planned, device=torch.device(options["device"])
            )
        self.batch = random_batch(self.trainer)

    def step(self) -> float:
        return float(self.trainer.train_step(self.batch)["loss"])


def step_work(network: str, options: dict[str, Any], folder: str) -> Callable[[], object]:
    return Training(network, options, Path(folder)).step


def epoch(network: str, options: dict[str, Any], steps: int, folder: Path) -> dict[str, Any]:
    """Seconds of the steps and losses."""
    training = Training(network, options, folder)
    seconds, losses = [], []
    for _ in range(steps):
        measure.synchronize(options["device"])
        start = time.perf_counter()
        losses.append(training.step())
        measure.synchronize(options["device"])
        seconds.append(time.perf_counter() - start)
    if not all(map(torch.isfinite, torch.tensor(losses))):
        raise RuntimeError(f"expected finite losses of {network}, got {losses}")
    ours = statistics.median(seconds[1:])
    return {"first_s": round(seconds[0], 3), "step_s": round(ours, 4), "losses": [round(x, 4) for x in losses]}


def memory(network: str, options: dict[str, Any], arguments: Any, folder: Path) -> dict[str, Any]:
    """MiB that a step adds, measured and estimated."""
    from support.plan_factory import DATASET_JSON, make_plans

    from nnunet_reca.memory import training_memory

    measured = measure.peak_memory(step_work, network, options, str(folder), options=arguments)
    name, planned = trainer_name(network, options["small"]), make_plans(**plans(options["small"]))
    found = training_memory(name, planned, NETWORKS[network], DATASET_JSON, device=options["device"])
    estimated = (found.total - found.parameters) / 2**20
    return {"measured_mib": measured, "estimated_mib": round(estimated, 1), "ratio": round(estimated / measured, 3)}


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--kinds", nargs="+", choices=("epoch", "memory"), default=["epoch", "memory"])
    parser.add_argument("--steps", type=int, default=20, help="of the epoch")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--small", action="store_true", help="tiny networks and patches")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    options = {name: getattr(arguments, name) for name in ("device", "compile", "small")}
    rows = []
    for network in arguments.networks:
        row: dict[str, Any] = {"network": network}
        with tempfile.TemporaryDirectory() as folder:
            for kind in arguments.kinds:
                work = (arguments.steps,) if kind == "epoch" else (arguments,)
                try:
                    row |= (epoch if kind == "epoch" else memory)(network, options, *work, Path(folder))
                except Exception as error:  # the other networks go on
                    row[f"{kind}_failed"] = f"{type(error).__name__}: {str(error)[:300]}"
                torch._dynamo.reset()
        rows.append(row)
        print(" | ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    about = {**options, **measure.environment(arguments)}
    measure.finish({"benchmark": "epoch", **about, "rows": rows}, arguments.output)
    if failed := [row["network"] for row in rows if {"epoch_failed", "memory_failed"} & row.keys()]:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()

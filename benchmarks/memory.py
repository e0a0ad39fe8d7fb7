"""The estimate of a training step's memory next to what real steps take on the CPU.

Each plan is trained for two steps in a process of its own: nnU-Net's ``train_step`` with the trainer's network, loss
and optimizer, on random data. Measured is resident memory at the peak of the second step beyond that of the network, as
in ``step.py``; estimated is the peak without the parameters. A first step also loads kernels and fills caches, once and
for good: what it leaves beyond the optimizer's state is ``once``, and the error is that of the estimate next to what is
measured without it. What autograd saves is counted exactly, by the storages that ``saved_tensors_hooks`` sees. Linux
only, one thread. The last line is one JSON object. For example::

    OMP_NUM_THREADS=1 python benchmarks/memory.py --threads 1 --output benchmarks/results/memory_cpu.json
    python benchmarks/memory.py --networks SwinUNETRReca PrimusSReca
"""

import copy
import gc
import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

import measure
import torch
from torch import Tensor

from nnunet_reca.memory import training_memory
from nnunet_reca.memory.rehearsal import build_network, new_trainer, trainer_class

DATASET = {
    "channel_names": {"0": "MRI"},
    "labels": {"background": 0, "a": 1, "b": 2},
    "numTraining": 5,
    "file_ending": ".nii.gz",
}
#: the plans of a network: options of its trainer, patch, batch, strides after the first
CUBE, FLAT = ([2, 2, 2],), ([1, 2, 2],)
PLANS_3D = (
    ("_tiny", [64, 64, 64], 2, CUBE * 3),
    ("_tiny", [24, 96, 96], 2, FLAT + CUBE * 2),
    ("_tiny_checkpoint", [64, 80, 80], 2, CUBE * 3),
    ("_tiny", [48, 64, 96], 2, CUBE * 3),
)
PLANS_2D = (
    ("_tiny", [192, 192], 8, ([2, 2],) * 4),
    ("_tiny", [128, 256], 8, ([2, 2],) * 4),
    ("_tiny_checkpoint", [256, 256], 8, ([2, 2],) * 4),
    ("_tiny", [128, 128], 16, ([2, 2],) * 4),
)
PLANS_STOCK = (
    ("", [48, 48, 48], 2, CUBE * 3),
    ("", [16, 64, 64], 3, FLAT + CUBE * 2),
    ("", [40, 40, 40], 4, CUBE * 3),
    ("", [32, 48, 64], 2, CUBE * 3),
)
#: network in trainer names -> its plans; the empty one is nnU-Net's own trainer
NETWORKS = {
    "SwinUNETRReca": PLANS_3D,
    "NnFormerReca": PLANS_3D,
    "SwinUnetReca": PLANS_2D,
    "DATransUnetReca": PLANS_2D,
    "PrimusSReca": PLANS_3D,
    "PrimusV2SReca": PLANS_3D,
    "PrimusV3SReca": PLANS_3D,
    "": PLANS_STOCK,
}


def plan(patch: list[int], batch: int, strides: tuple[list[int], ...]) -> dict[str, Any]:
    """A plan of nnU-Net's, whose own network is its plain U-Net."""
    axes, stages = len(patch), len(strides) + 1
    architecture = {
        "n_stages": stages,
        "features_per_stage": [min(32 * 2**i, 320) for i in range(stages)],
        "conv_op": f"torch.nn.modules.conv.Conv{axes}d",
        "kernel_sizes": [[3] * axes] * stages,
        "strides": [[1] * axes, *strides],
        "n_conv_per_stage": [2] * stages,
        "n_conv_per_stage_decoder": [2] * (stages - 1),
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{axes}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    configuration = {
        "data_identifier": "nnUNetPlans",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": batch,
        "patch_size": patch,
        "spacing": [1.0] * axes,
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "batch_dice": axes == 2,
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": architecture,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }
    return {
        "dataset_name": "Dataset999_Memory",
        "plans_name": "nnUNetPlans",
        "label_manager": "LabelManager",
        "image_reader_writer": "SimpleITKIO",
        "configurations": {"planned": configuration},
    }


class Step:
    """Real steps of a trainer, on random data."""

    def __init__(self, name: str, plans: dict[str, Any]) -> None:
        kind = trainer_class(name)
        self.trainer = trainer = new_trainer(kind, plans, "planned", DATASET, torch.device("cpu"), None)
        trainer.network = build_network(trainer).train()
        trainer.optimizer, trainer.lr_scheduler = trainer.configure_optimizers()
        trainer.loss = trainer._build_loss()
        self.saved: dict[int, tuple[Tensor, int]] = {}

    def batch(self) -> dict[str, Any]:
        trainer, patch = self.trainer, self.trainer.configuration_manager.patch_size
        scales = trainer._get_deep_supervision_scales() or [[1] * len(patch)]
        targets = []
        for scale in scales:
            sides = [round(side * s) for side, s in zip(patch, scale, strict=True)]
            targets.append(torch.randint(0, 3, (trainer.batch_size, 1, *sides), dtype=torch.int16))
        data = torch.randn(trainer.batch_size, 1, *patch)
        return {"data": data, "target": targets if trainer.enable_deep_supervision else targets[0]}

    def run(self) -> None:
        self.trainer.train_step(self.batch())

    def count_saved(self) -> int:
        """Bytes of the storages that a forward pass saves, but for parameters and buffers."""
        trainer, batch = self.trainer, self.batch()
        known = {t.untyped_storage().data_ptr() for t in (*trainer.network.parameters(), *trainer.network.buffers())}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in known:
                # kept alive, so that no other storage gets its address
                self.saved[storage.data_ptr()] = (tensor.detach(), -(-storage.nbytes() // 64) * 64)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            trainer.loss(trainer.network(batch["data"]), batch["target"])
        return sum(size for _, size in self.saved.values())


def take_steps(name: str, plans: dict[str, Any], pipe: Any) -> None:
    """In a process of its own: MiB at the second step's peak, MiB that came once, and bytes that autograd saves."""
    torch.set_num_threads(1)
    step = Step(name, plans)
    gc.collect()
    before = measure.resident("VmRSS")
    step.run()
    step.trainer.optimizer.zero_grad(set_to_none=True)
    left = measure.resident("VmRSS") - before
    state = [t for values in step.trainer.optimizer.state.values() for t in values.values() if isinstance(t, Tensor)]
    once = left - sum(t.untyped_storage().nbytes() for t in state) / 2**20
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak counts from here
    step.run()
    peak = measure.resident("VmHWM") - before
    pipe.send((peak, once, step.count_saved()))


def row(name: str, patch: list[int], batch: int, strides: tuple[list[int], ...]) -> dict[str, Any]:
    """Estimate and measurement of a plan."""
    plans = plan(patch, batch, strides)
    estimate = training_memory(name, copy.deepcopy(plans), "planned", DATASET, device="cpu")
    # forked, as imports are done: a new process would take seconds for them
    measured, once, saved = measure.in_process(take_steps, name, plans, method="fork")
    estimated = (estimate.total - estimate.parameters) / 2**20
    return {
        "trainer": name,
        "patch": patch,
        "batch": batch,
        "measured_mib": round(measured, 1),
        "once_mib": round(once, 1),
        "estimated_mib": round(estimated, 1),
        "error": round(estimated / (measured - once) - 1, 4),
        "error_with_once": round(estimated / measured - 1, 4),
        "saved_bytes": saved,
        "estimated_saved_bytes": estimate.saved,
    }


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="default all")
    arguments = parser.parse_args()
    if os.environ.get("MALLOC_MMAP_THRESHOLD_") is None:  # read when a process starts: freed memory goes back at once
        os.environ["MALLOC_MMAP_THRESHOLD_"] = str(2**16)
        os.execv(sys.executable, [sys.executable, *sys.argv])
    torch.set_num_threads(1)
    columns = ("trainer", "patch", "batch", "measured MiB", "once", "estimated MiB", "error", "saved MiB", "estimated")
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}", flush=True)
    rows: list[dict[str, Any]] = []
    # the first plan of all networks, then the second: what an interruption leaves is of all kinds
    for options, network, *sizes in by_plan(arguments.networks):
        rows.append(row(f"nnUNetTrainer{network}{options}", *sizes))
        print(line(rows[-1]), flush=True)
        about = {"benchmark": "memory", **measure.environment(arguments), **summary(rows), "rows": rows}
        if arguments.output:
            arguments.output.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(about))


def by_plan(networks: list[str]) -> list[tuple[Any, ...]]:
    """Options, network, patch, batch and strides of all runs."""
    runs = [[(options, network, *sizes) for options, *sizes in NETWORKS[network]] for network in networks]
    return [run for plans in zip(*runs, strict=True) for run in plans]


def line(r: dict[str, Any]) -> str:
    """A row of the table."""
    shape = "×".join(map(str, r["patch"]))
    numbers = " | ".join(f"{r[key]:.0f}" for key in ("measured_mib", "once_mib", "estimated_mib"))
    saved = " | ".join(f"{r[key] / 2**20:.1f}" for key in ("saved_bytes", "estimated_saved_bytes"))
    return f"| {r['trainer']} | {shape} | {r['batch']} | {numbers} | {r['error']:+.1%} | {saved} |"


def summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Median and worst of the errors, with what comes once and without."""
    found = {}
    for key in ("error", "error_with_once"):
        errors = [abs(r[key]) for r in rows]
        found |= {f"median_{key}": statistics.median(errors), f"worst_{key}": max(errors)}
    return found


if __name__ == "__main__":
    main()

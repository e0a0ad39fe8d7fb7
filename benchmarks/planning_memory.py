"""Whether a training step of a plan takes what it was planned for: resident memory above the process's start.

Each trainer is planned for a target on the CPU, and trains two steps on random data of the plan's patch and batch in a
process of its own: nnU-Net's own training step, loss and optimizer. The start is the process with all imports and no
trainer. The last line is one JSON object. Run::

    python benchmarks/planning_memory.py -d 11 -tr nnUNetTrainerSwinUNETRReca -c 3d_fullres --gb 4 --output FILE
"""

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from measure import environment, in_process, resident

from nnunet_reca.cli import plan as command


def planned(dataset: str, trainer: str, configuration: str, gb: float) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Plans, dataset.json, and bytes that were estimated."""
    from nnunet_reca.cli.plan_files import data_set
    from nnunet_reca.plans.planner import find_planner, plan
    from nnunet_reca.plans.wishes import GB, Wishes

    name, dataset_json = data_set(dataset)

    def memory(plans: dict[str, Any], configuration: str) -> int:
        return command.step_memory(trainer, plans, configuration, dataset_json, "cpu")

    wishes = Wishes(memory, lambda _: int(gb * GB), command.suited_by(trainer), (configuration,), print)
    outcome = plan(find_planner("ExperimentPlanner"), name, wishes)
    return outcome.plans, dataset_json, outcome.planned[configuration].memory


def _steps(trainer: str, plans: dict[str, Any], configuration: str, dataset_json: dict[str, Any], pipe: Any) -> None:
    """Two training steps; sends bytes of the process above its start."""
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("raw", "preprocessed", "results"):
            os.environ[f"nnUNet_{kind}"] = folder
        import torch

        from nnunet_reca.trainers.find import find_trainer

        torch.set_num_threads(1)
        made = plans["configurations"][configuration]
        plans["continue_training"], made["data_identifier"] = False, "data"
        data = Path(folder, plans["dataset_name"], "data")
        data.mkdir(parents=True)
        (data / "case.b2nd").touch()  # nnU-Net looks for the format of its data
        kind, cpu = find_trainer(trainer), torch.device("cpu")
        start = resident("VmRSS")
        made_trainer = kind(plans, configuration, 0, dataset_json, cpu)
        made_trainer.initialize()
        made_trainer.network.train()
        batch, patch = made["batch_size"], made["patch_size"]
        scales = made_trainer._get_deep_supervision_scales() or [[1] * len(patch)]
        sides = [[round(side * s) for side, s in zip(patch, scale, strict=True)] for scale in scales]
        targets: Any = [torch.randint(0, 2, (batch, 1, *size)) for size in sides]
        targets = targets if made_trainer.enable_deep_supervision else targets[0]
        for _ in range(2):
            image = torch.randn(batch, made_trainer.num_input_channels, *patch)
            made_trainer.train_step({"data": image, "target": targets})
            del image
        pipe.send((resident("VmHWM") - start) * 2**20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("-d", dest="dataset", required=True, help="data set with a fingerprint")
    add("-tr", dest="trainers", nargs="+", required=True, help="trainers")
    add("-c", dest="configuration", default="3d_fullres")
    add("--gb", type=float, default=4, help="target")
    add("--output", type=Path, help="JSON file, to which rows are added")
    options = parser.parse_args()
    options.device, options.threads, options.processor_time, options.repeats = "cpu", 1, False, 1
    output: Path | None = options.output
    found = json.loads(output.read_text(encoding="utf-8"))["rows"] if output and output.is_file() else []
    for trainer in options.trainers:
        plans, dataset_json, estimate = planned(options.dataset, trainer, options.configuration, options.gb)
        made = plans["configurations"][options.configuration]
        taken = int(in_process(_steps, trainer, plans, options.configuration, dataset_json))
        row = {
            "dataset": plans["dataset_name"],
            "configuration": options.configuration,
            "trainer": trainer,
            "patch_size": made["patch_size"],
            "batch_size": made["batch_size"],
            "target_gb": options.gb,
            "estimated_gb": round(estimate / 1e9, 3),
            "measured_gb": round(taken / 1e9, 3),
        }
        print(row, flush=True)
        found.append(row)
        if output:
            content = {**environment(options), "rows": found}
            output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found))


if __name__ == "__main__":
    main()

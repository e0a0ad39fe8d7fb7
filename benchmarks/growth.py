"""How time and memory of inference and of a training step grow with patch size, batch and depth; drawn to a PNG.

SwinUNETR-RecA, feature_size 24, with the windows of the plan rules, fp32; a step is forward and backward. Seconds are
medians, memory is the peak that a call adds in a fresh process; cases that would need more than
``--memory-limit``, going by the number of voxels, are left out. The last line is one JSON object.
Run: ``python benchmarks/growth.py [--device cuda] [--plot docs/growth.png]``
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measure
import torch

from nnunet_reca.architectures import SwinUNETR
from nnunet_reca.plans.geometry import window_size

BASE = {"patch": 64, "batch": 1, "depth": 2, "feature_size": 24}
#: what grows -> its values, everything else staying at its base
SERIES = {"patch": (32, 64, 96, 128, 160), "batch": (1, 2, 4, 8), "depth": (2, 4, 6, 8)}
LABELS = {"inference": "inference", "step": "training step", "step_checkpoint": "training step, checkpointed"}
COLORS = {"inference": "#0072B2", "step": "#D55E00", "step_checkpoint": "#009E73"}


def work(kind: str, device: str, patch: int, batch: int, depth: int, feature_size: int) -> Callable[[], object]:
    torch.manual_seed(0)
    windows = [window_size([patch // 2 ** (i + 1)] * 3, 7) for i in range(4)]
    strides = [[1, 1, 1]] + [[2, 2, 2]] * (5 if patch > 32 else 4)
    stages = len(strides) - 2
    model = SwinUNETR(
        1,
        5,
        strides=strides,
        feature_size=feature_size,
        depths=[depth] * stages,
        num_heads=[3, 6, 12, 24][:stages],
        window_sizes=windows[:stages],
        use_checkpoint=kind.endswith("checkpoint"),
        auxiliary_heads=False,
    ).to(device)
    x = torch.randn(batch, 1, patch, patch, patch, device=device)

    def step() -> None:
        model(x).square().mean().backward()
        model.zero_grad(set_to_none=True)

    @torch.inference_mode()
    def inference() -> None:
        model.eval()(x)

    return inference if kind == "inference" else step


def measure_case(case: dict[str, int], arguments: argparse.Namespace) -> dict[str, Any]:
    values = {kind: (kind, arguments.device, *case.values()) for kind in LABELS}
    memory = {kind: measure.peak_memory(work, *v, options=arguments) for kind, v in values.items()}
    seconds = measure.alternate({kind: work(*v) for kind, v in values.items()}, arguments)
    return {**case, "seconds": seconds, "mib": memory}


def draw(rows: list[dict[str, Any]], about: str, path: Path) -> None:
    """Time above, memory below, a column per series; logarithmic axes, beside the lines of proportional growth."""
    from matplotlib import pyplot as plt

    names = {"patch": "voxels of the patch", "batch": "batch", "depth": "blocks per stage"}
    figure, axes = plt.subplots(2, 3, figsize=(11, 6.2), sharey="row", layout="constrained")
    for column, (name, values) in enumerate(SERIES.items()):
        series = [r for r in rows if all(r[n] == BASE[n] for n in BASE if n != name)]
        ticks = [v for v in values if v in {r[name] for r in series}]
        xs = [v**3 if name == "patch" else v for v in ticks]
        by_value = {r[name]: r for r in series}
        for row, (quantity, unit) in enumerate((("seconds", "seconds"), ("mib", "peak MiB"))):
            axis = axes[row, column]
            for kind, label in LABELS.items():
                ys = [by_value[v][quantity][kind] for v in ticks]
                axis.plot(xs, ys, "o-", color=COLORS[kind], label=label)
                start = xs.index(BASE[name] ** 3 if name == "patch" else BASE[name])
                axis.plot(xs, [ys[start] * x / xs[start] for x in xs], ":", color=COLORS[kind], alpha=0.6)
            axis.set(xscale="log", yscale="log", xlabel=names[name], ylabel=unit if column == 0 else "")
            axis.set_xticks(xs, [f"{v}³" if name == "patch" else str(v) for v in ticks])
            axis.minorticks_off()
            axis.grid(alpha=0.3)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    title = f"SwinUNETR-RecA, feature_size {BASE['feature_size']}; dotted: proportional growth\n{about}"
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = measure.parser(__doc__)
    parser.set_defaults(repeats=2, processes=1)
    parser.add_argument("--memory-limit", type=float, default=12000, help="MiB")
    parser.add_argument("--plot", type=Path, help="PNG to draw")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cases = [BASE, *({**BASE, name: v} for name, values in SERIES.items() for v in values if v != BASE[name])]
    rows: list[dict[str, Any]] = []
    print("| patch | batch | depth | " + " | ".join(f"{label} s | MiB" for label in LABELS.values()) + " |")
    print("|" + " --- |" * 9)
    for case in cases:
        growth = (case["patch"] / BASE["patch"]) ** 3 * case["batch"]
        if rows and growth * max(rows[0]["mib"].values()) > arguments.memory_limit:
            continue
        rows.append(measure_case(case, arguments))
        cells = [f"{rows[-1]['seconds'][kind]:.2f} | {rows[-1]['mib'][kind]:.0f}" for kind in LABELS]
        print(f"| {case['patch']} | {case['batch']} | {case['depth']} | {' | '.join(cells)} |", flush=True)
    about = measure.environment(arguments)
    if arguments.plot:
        draw(rows, f"{about['device']}, {about['threads']} threads, torch {about['torch']}", arguments.plot)
    measure.finish({"benchmark": "growth", **about, "rows": rows}, arguments.output)


if __name__ == "__main__":
    main()

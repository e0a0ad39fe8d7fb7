"""Inference, training step and peak memory: self-attention, Recurrent-Attention, and MONAI's SwinUNETR.

Timings alternate between the networks of a case and are medians; memory is what the second step of a fresh process adds
to what the network itself takes. The step is forward, backward and AdamW. The SwinUNETRs of a case have the same
weights (MONAI's, converted), the same windows (7, also where that pads), and equal outputs, which is checked;
``reca_planned`` is ours with the windows that the plan rules choose. The last line is one JSON object. For example::

    python benchmarks/step.py                                   # CPU, all cases of batch 1
    python benchmarks/step.py --cases swin_unetr_64_b1 --repeats 9
    python benchmarks/step.py --device cuda --compile --precision bf16 --cases swin_unetr_96_b2
    python benchmarks/step.py --cases primus_v3s_160_b1 --variants reca_checkpoint --kinds step
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import measure
import torch
from torch import Tensor, nn

from nnunet_reca.architectures import DATransUnet, NnFormer, Primus, SwinUnet, SwinUNETR
from nnunet_reca.plans.geometry import window_size
from nnunet_reca.plans.networks import NETWORKS
from nnunet_reca.weights import da_transunet, nnformer, swin_unet, swin_unetr
from nnunet_reca.weights.rename import load_renamed, rename

#: case -> (network, size, feature size where there is one, batch)
CASES = {
    f"swin_unetr_{size}_b{batch}": ("swin_unetr", (size,) * 3, feature_size, batch)
    for size, feature_size in ((64, 24), (96, 48))
    for batch in (1, 2)
} | {
    "swin_unetr_dry_b1": ("swin_unetr", (64, 32, 32), 12, 1),
    "nnformer_64_b1": ("nnformer", (64,) * 3, None, 1),
    "swin_unet_224_b4": ("swin_unet", (224,) * 2, None, 4),
    "da_transunet_224_b2": ("da_transunet", (224,) * 2, None, 2),
    "primus_v3s_64_b1": ("primus", (64,) * 3, None, 1),
    "primus_v3s_160_b1": ("primus", (160,) * 3, None, 1),
}
#: large, or with nothing to show but that this script works
ON_DEMAND = ("swin_unetr_dry_b1", "swin_unetr_64_b2", "swin_unetr_96_b2", "primus_v3s_160_b1")
DEFAULT = [name for name in CASES if name not in ON_DEMAND]


def variants(network: str) -> list[str]:
    """Networks that a case compares; ``checkpoint`` is RecA with activation checkpointing."""
    names = ["sa", "reca", "reca_checkpoint"]
    return [*names, "reca_planned", "monai", "monai_flash"] if network == "swin_unetr" else names


def build(
    network: str, variant: str, size: tuple[int, ...], feature_size: int | None, *, equal_weights: bool = True
) -> nn.Module:
    """A network of a case; all SwinUNETRs but the planned one have equal weights."""
    torch.manual_seed(0)
    more = {"carry": "none" if variant == "sa" else "sum"} | (
        {"use_checkpoint": True} if variant == "reca_checkpoint" else {}
    )
    if network == "nnformer":
        return NnFormer(
            **{**nnformer.published_arguments({"input_channels": 1, "num_classes": 5}, recurrent=True), **more}
        )
    if network == "swin_unet":
        return SwinUnet(**{**swin_unet.published_arguments({"num_classes": 9}, recurrent=True), **more})
    if network == "da_transunet":
        config = {"img_size": 224, "n_classes": 9, "base_config": "get_r50_b16_config()"}
        return DATransUnet(**{**da_transunet.published_arguments(config, recurrent=True), **more})
    if network == "primus":
        strides, grid = [[1] * 3] + [[2] * 3] * 3, [side // 8 for side in size]
        return Primus(1, 2, strides=strides, grid_size=grid, **NETWORKS["PrimusV3S"].sizes["base"], **more)
    assert feature_size is not None
    if variant.startswith("monai"):
        return monai_swin_unetr(feature_size, flash=variant == "monai_flash")
    if variant == "reca_planned":
        maps = [[side // 2 ** (i + 1) for side in size] for i in range(4)]
        more["window_sizes"] = [window_size(m, 7) for m in maps]
    else:
        more["index_scheme"] = "cropped"  # as MONAI
    strides = [[1, 1, 1]] + [[2, 2, 2]] * 5
    model = SwinUNETR(1, 5, strides=strides, feature_size=feature_size, auxiliary_heads=False, **more)
    if variant != "reca_planned" and equal_weights:
        with_weights_of_monai(model, monai_swin_unetr(feature_size, flash=False))
    return model


def monai_swin_unetr(feature_size: int, *, flash: bool) -> nn.Module:
    from monai.networks.nets.swin_unetr import SwinUNETR as MonaiSwinUNETR

    torch.manual_seed(0)
    arguments = {"in_channels": 1, "out_channels": 5, "feature_size": feature_size, "downsample": "mergingv2"}
    return MonaiSwinUNETR(**arguments, use_flash_attention=flash)


def with_weights_of_monai(model: nn.Module, other: nn.Module) -> None:
    load_renamed(model, rename(other.state_dict(), swin_unetr.swin_unetr_rules(3, "mergingv2")))


def example(network: str, size: tuple[int, ...], batch: int, device: str) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(batch, 3 if network == "swin_unet" else 1, *size, device=device)


class Run:
    """A network of a case, its input and optimizer, on the device, ready to be called."""

    def __init__(self, network: str, variant: str, size: tuple[int, ...], feature_size: int | None, batch: int) -> None:
        options = OPTIONS
        self.device = options["device"]
        self.model = build(network, variant, size, feature_size).to(self.device)
        self.forward = torch.compile(self.model) if options["compile"] else self.model
        self.x = example(network, size, batch, self.device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5)
        self.dtype = measure.DTYPES[options["precision"]]
        self.scaler = torch.amp.GradScaler(self.device, enabled=options["precision"] == "fp16")

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        return torch.autocast(self.device, self.dtype) if self.dtype else contextlib.nullcontext()

    def inference(self) -> Tensor:
        self.model.eval()
        with torch.inference_mode(), self.autocast():
            return self.forward(self.x)

    def step(self) -> None:
        self.model.train()
        with self.autocast():
            loss = self.forward(self.x).float().square().mean()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)


#: device, compile and precision; set once, also in the processes that measure memory
OPTIONS: dict[str, Any] = {"device": "cpu", "compile": False, "precision": "fp32"}


def memory_work(options: dict[str, Any], kind: str, *case: Any) -> Callable[[], object]:
    OPTIONS.update(options)
    return getattr(Run(*case), kind)


def check_equal(runs: dict[str, Run]) -> float:
    """Largest difference between our self-attention and MONAI's output, relative to the output's deviation."""
    ours, theirs = runs["sa"].inference().float(), runs["monai"].inference().float()
    difference = ((ours - theirs).abs().max() / theirs.std()).item()
    limit = 1e-4 if OPTIONS["precision"] == "fp32" else 0.3
    if difference > limit:
        raise RuntimeError(f"expected equal outputs of ours and MONAI's, got a relative difference of {difference}")
    return difference


def measure_case(name: str, arguments: Any) -> dict[str, Any]:
    network, size, feature_size, batch = CASES[name]
    compared = [v for v in variants(network) if not arguments.variants or v in arguments.variants]
    kinds = {  # checkpointing is for training, and MONAI's flash attention for inference only
        "inference": [v for v in compared if v != "reca_checkpoint"],
        "step": [v for v in compared if v != "monai_flash"],
    }
    kinds = {kind: names if kind in arguments.kinds else [] for kind, names in kinds.items()}
    row = {"case": name, **compare_runs(name, compared, kinds, arguments)}
    for kind, names in kinds.items():
        row[f"{kind}_mib"] = {
            v: measure.peak_memory(memory_work, OPTIONS, kind, network, v, size, feature_size, batch, options=arguments)
            for v in names
            if not arguments.no_memory
        }
    return row


def compare_runs(
    name: str, compared: Sequence[str], kinds: Mapping[str, Sequence[str]], arguments: Any
) -> dict[str, Any]:
    """Difference to MONAI's outputs, and seconds; the networks are gone when memory is measured."""
    network, size, feature_size, batch = CASES[name]
    runs = {v: Run(network, v, size, feature_size, batch) for v in compared}
    row: dict[str, Any] = {"difference": check_equal(runs)} if {"sa", "monai"} <= runs.keys() else {}
    for kind, names in kinds.items():
        works = {v: getattr(runs[v], kind) for v in names}
        row[f"{kind}_s"] = {} if arguments.no_time else measure.alternate(works, arguments)
    return row


COLUMNS = ("inference_s", "step_s", "inference_mib", "step_mib")


def show(row: dict[str, Any]) -> None:
    """One line per network: seconds and MiB, each with its ratio to the self-attention of MONAI, or to ours."""
    base = "monai" if any("monai" in row[column] for column in COLUMNS) else "sa"
    print(f"\n{row['case']}, ratios to {base}")
    print("| network | inference s | training step s | inference MiB | training step MiB |")
    print("| --- | --- | --- | --- | --- |")
    for variant in dict.fromkeys(v for column in COLUMNS for v in row[column]):
        cells = []
        for column in COLUMNS:
            value, reference = row[column].get(variant), row[column].get(base)
            shown = "-" if value is None else f"{value:.3f}" if column.endswith("_s") else f"{value:.0f}"
            cells.append(f"{shown} ({value / reference:.2f})" if value is not None and reference else shown)
        print(f"| {variant} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=DEFAULT)
    parser.add_argument("--variants", nargs="+", help="networks to compare, default all")
    parser.add_argument(
        "--kinds", nargs="+", choices=("inference", "step"), default=["inference", "step"], help="default both"
    )
    parser.add_argument("--precision", choices=measure.DTYPES, default="fp32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--no-memory", action="store_true", help="timings only")
    parser.add_argument("--no-time", action="store_true", help="memory only, for a busy machine")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    OPTIONS.update(device=arguments.device, compile=arguments.compile, precision=arguments.precision)
    rows = []
    for name in arguments.cases:
        rows.append(measure_case(name, arguments))
        show(rows[-1])
    about = {**OPTIONS, **measure.environment(arguments)}
    measure.finish({"benchmark": "step", **about, "rows": rows}, arguments.output)


if __name__ == "__main__":
    main()

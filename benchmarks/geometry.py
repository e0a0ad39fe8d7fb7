"""What the networks take from real plans: token maps, attention windows, padding, parameters, FLOPs of a patch.

Without arguments nnU-Net plans three data sets from shape and spacing of their median case, in a temporary folder; with
plans files it shows those. Padding is how many tokens the windows add to the token maps, chosen and published windows.
Tables are Markdown; the last line is one JSON object. Run::

    python benchmarks/geometry.py
    python benchmarks/geometry.py "$nnUNet_preprocessed/Dataset004_Hippocampus/nnUNetPlans.json"
"""

import argparse
import contextlib
import io
import json
import math
import os
import pydoc
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from nnunet_reca.plans.networks import NETWORKS
from nnunet_reca.plans.rewrite import rewrite_plan

#: data set -> shape and spacing of its median case at nnU-Net's target spacing, in the images' axes; labels; cases
DATA_SETS: dict[str, dict[str, Any]] = {
    "Dataset004_Hippocampus": {"shape": [36, 50, 35], "spacing": [1, 1, 1], "labels": 2, "cases": 200},
    "Dataset011_OpenKBP": {"shape": [102, 68, 121], "spacing": [2.5, 3.92, 3.92], "labels": 5, "cases": 70},
    "Dataset012_Nuclei": {"shape": [1, 256, 256], "spacing": [999, 1, 1], "labels": 2, "cases": 160},
}


def planned(folder: Path, name: str, about: dict[str, Any]) -> dict[str, Any]:
    """nnU-Net's default plans of a data set of equal one-channel images, to whose ``folder`` its variables point."""
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

    raw, preprocessed = folder / "raw" / name, folder / "preprocessed" / name
    (raw / "imagesTr").mkdir(parents=True)
    (raw / "labelsTr").mkdir()
    preprocessed.mkdir(parents=True)
    (raw / "imagesTr" / "case_0000.nii.gz").touch()
    dataset = {
        "channel_names": {"0": "image"},
        "labels": {"background": 0, **{f"label {i + 1}": i + 1 for i in range(about["labels"])}},
        "numTraining": about["cases"],
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "SimpleITKIO",
    }
    statistics = dict.fromkeys(("max", "mean", "median", "min", "percentile_00_5", "percentile_99_5", "std"), 1.0)
    fingerprint = {
        "spacings": [about["spacing"]] * 3,
        "shapes_after_crop": [about["shape"]] * 3,
        "foreground_intensity_properties_per_channel": {"0": statistics},
        "median_relative_size_after_cropping": 1.0,
    }
    (raw / "dataset.json").write_text(json.dumps(dataset), encoding="utf-8")
    (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(fingerprint), encoding="utf-8")
    with contextlib.redirect_stdout(io.StringIO()), torch.device("meta"):  # its networks cost no memory there
        ExperimentPlanner(name).plan_experiment()
    return json.loads((preprocessed / "nnUNetPlans.json").read_text(encoding="utf-8"))


def padding(maps: Sequence[Sequence[int]], windows: Sequence[Sequence[int]]) -> float:
    """Tokens that windows add to token maps, as a fraction of those that are there; small maps shrink the window."""
    padded = 0
    for sides, window in zip(maps, windows, strict=True):
        padded += math.prod(-(-side // min(w, side)) * min(w, side) for side, w in zip(sides, window, strict=True))
    return padded / sum(map(math.prod, maps)) - 1


def row(plans: dict[str, Any], configuration: str, network: str) -> dict[str, Any]:
    """What one network of the published width takes from a configuration, two classes and one channel."""
    rewritten = rewrite_plan(plans, configuration, network=network, size="base", carry="sum")
    architecture = rewritten["configurations"][configuration]["architecture"]
    arguments = architecture["arch_kwargs"]
    sides = plans["configurations"][configuration]["patch_size"]
    with torch.device("meta"), torch.no_grad():
        model = pydoc.locate(architecture["network_class_name"])(1, 2, **arguments).eval()  # type: ignore[operator]
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 1, *sides))
    parameters = sum(p.numel() for p in model.parameters())
    result = {"network": network, "parameters": parameters, "flops": counter.get_total_flops()}
    if not NETWORKS[network].windowed:
        return {**result, "maps": [arguments["grid_size"]], "windows": None}
    windows = arguments["window_sizes"]
    first = arguments.get("patch_embed_strides", [arguments["strides"][1]])
    merges = arguments["strides"][1 if network == "NnFormer" else 2 :]
    embedded = [side // math.prod(s[axis] for s in first) for axis, side in enumerate(sides)]
    maps = [embedded]
    for merge in merges[: len(windows) - 1]:
        maps.append([side // s for side, s in zip(maps[-1], merge, strict=True)])
    published = [[w] * len(sides) for w in NETWORKS[network].sizes["base"]["windows"][: len(maps)]]
    return {
        **result,
        "maps": maps,
        "windows": windows,
        "padding": round(padding(maps, windows), 3),
        "published_padding": round(padding(maps, published), 3),
    }


def show(name: str, configuration: str, plan: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """A heading with what nnU-Net planned, and the table of the networks."""
    strides = plan["architecture"]["arch_kwargs"]["strides"][1:]
    print(
        f"\n**{name}, `{configuration}`**: patch {by(plan['patch_size'])}, batch {plan['batch_size']}, "
        f"strides {', '.join(map(by, strides))}\n"
    )
    print("| network | token maps of the stages | windows | padding (published) | parameters | GFLOPs |")
    print("| --- | --- | --- | --- | --- | --- |")
    for r in rows:
        windows = ", ".join(map(by, r["windows"])) if r["windows"] else "all tokens"
        pads = f"{r['padding']:.0%} ({r['published_padding']:.0%})" if r["windows"] else "none"
        maps = ", ".join(map(by, r["maps"]))
        cost = f"{r['parameters'] / 1e6:.1f} M | {r['flops'] / 1e9:.1f}"
        print(f"| {r['network']} | {maps} | {windows} | {pads} | {cost} |", flush=True)


def by(sides: Sequence[int]) -> str:
    """Sides as text, one number where all are equal: 7×5×7, or 7³."""
    same = len(set(sides)) == 1
    return f"{sides[0]}{'²³'[len(sides) - 2]}" if same else "×".join(map(str, sides))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plans", nargs="*", type=Path, help="plans files; default: three data sets planned here")
    files = parser.parse_args().plans
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("raw", "preprocessed", "results"):  # read when nnU-Net is imported
            os.environ[f"nnUNet_{kind}"] = str(Path(folder, kind))
        if files:
            named = [(file.parent.name, json.loads(file.read_text(encoding="utf-8"))) for file in files]
        else:
            named = [(name, planned(Path(folder), name, about)) for name, about in DATA_SETS.items()]
    for name, plans in named:
        for configuration, plan in plans["configurations"].items():
            if "architecture" not in plan:
                continue
            fitting = [n for n, kind in NETWORKS.items() if len(plan["patch_size"]) in kind.dimensions]
            rows = [row(plans, configuration, network) for network in fitting]
            show(name, configuration, plan, rows)
            results.append({"data_set": name, "configuration": configuration, "rows": rows})
    print(json.dumps({"plans": results}))


if __name__ == "__main__":
    main()

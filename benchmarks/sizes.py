"""Parameters and FLOPs of the full published networks, self-attention and RecA, next to the published figures.

FLOPs are counted by ``torch.utils.flop_counter`` (two per multiply-add), on the meta device, for one image. The last
line is one JSON object. Run: ``python benchmarks/sizes.py``
"""

import json

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nnunet_reca.architectures import DATransUnet, NnFormer, SwinUnet, SwinUNETR
from nnunet_reca.weights import da_transunet, nnformer, swin_unet, swin_unetr

#: name -> (class, arguments, input, published parameters without dead ones, published GFLOPs)
PUBLISHED = {
    "SwinUNETR, feature_size 48": (
        SwinUNETR,
        lambda recurrent: swin_unetr.published_arguments(
            {"in_channels": 1, "out_channels": 5, "feature_size": 48, "downsample": "merging"},
            recurrent=recurrent,
            duplicated=True,
        )[0],
        (1, 1, 96, 96, 96),
        62_186_855,
        636.29,
    ),
    "nnFormer, embed 192": (
        NnFormer,
        lambda recurrent: nnformer.published_arguments({"input_channels": 1, "num_classes": 5}, recurrent=recurrent),
        (1, 1, 96, 96, 96),
        149_265_629,
        352.82,
    ),
    "Swin-Unet, depths 2-2-2-2": (
        SwinUnet,
        lambda recurrent: swin_unet.published_arguments(
            {"num_classes": 9, "depths": [2, 2, 2, 2]}, recurrent=recurrent
        ),
        (1, 3, 224, 224),
        27_168_900,
        12.22,
    ),
    "Swin-Unet, depths 2-2-6-2": (
        SwinUnet,
        lambda recurrent: swin_unet.published_arguments(
            {"num_classes": 9, "depths": [2, 2, 6, 2]}, recurrent=recurrent
        ),
        (1, 3, 224, 224),
        41_380_836,
        17.89,
    ),
    "DA-TransUNet, R50-ViT-B/16": (
        DATransUnet,
        lambda recurrent: da_transunet.published_arguments(
            {"img_size": 224, "n_classes": 9, "base_config": "get_r50_b16_config()"}, recurrent=recurrent
        ),
        (1, 3, 224, 224),
        107_951_855 - 1_513_816,  # without the 272 tensors that never receive a gradient
        60.32,
    ),
}


def measure(network: nn.Module, shape: tuple[int, ...]) -> tuple[int, int]:
    """Parameters, and FLOPs of one forward pass."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(shape, device="meta"))
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops()


def main() -> None:
    rows = []
    print("| network (input) | published parameters | SA | RecA | published GFLOPs | SA | RecA |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, (kind, arguments, shape, parameters, flops) in PUBLISHED.items():
        row = {"network": name, "input": shape, "published_parameters": parameters, "published_gflops": flops}
        for twin, recurrent in (("sa", False), ("reca", True)):
            with torch.device("meta"):
                network = kind(**arguments(recurrent)).eval()
            row[f"{twin}_parameters"], count = measure(network, shape)
            row[f"{twin}_gflops"] = round(count / 1e9, 2)
        rows.append(row)
        print(
            f"| {name} ({'x'.join(map(str, shape[1:]))}) | {parameters:,} | {row['sa_parameters']:,} "
            f"| {row['reca_parameters']:,} | {flops} | {row['sa_gflops']} | {row['reca_gflops']} |",
            flush=True,
        )
    twins_agree = all(r["sa_parameters"] == r["reca_parameters"] and r["sa_gflops"] == r["reca_gflops"] for r in rows)
    print(json.dumps({"rows": rows, "twins_agree": twins_agree, "torch": torch.__version__}))


if __name__ == "__main__":
    main()

"""How much of an inference and of a training step its products take: matrix products, convolutions, fused attention.

Every product of a run is recorded with the shapes and strides of its tensors, and run again by itself on random
numbers, several times, its operands still in the cache. Their sum is the least that a run with these products takes: no
change to layouts, norms, activations or the optimizer goes below it. The optimizer is timed by itself, too, and the
rate of each product is told, so that slow ones can be found and replaced. For example::

    python benchmarks/products.py --threads 1 --output benchmarks/results/products_cpu.json
"""

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measure
import step
import torch
from side_by_side import CASES, KINDS
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map, tree_map_only
from torch.utils.flop_counter import conv_flop_count, flop_registry

from nnunet_reca.trainers.recipe import BASE, build_optimizer

Call = tuple[Any, tuple[Any, ...], dict[str, Any]]
aten = torch.ops.aten
#: how to count the operations of products; PyTorch's own list lacks those that only CPUs have
COUNTS: dict[Any, Callable[..., int]] = {
    **flop_registry,
    aten._scaled_dot_product_flash_attention_for_cpu: flop_registry[aten._scaled_dot_product_flash_attention],
    aten._scaled_dot_product_flash_attention_for_cpu_backward: flop_registry[
        aten._scaled_dot_product_flash_attention_backward
    ],
    aten.mkldnn_convolution: lambda x, weight, *_, out_val: conv_flop_count(x.shape, weight.shape, out_val.shape),
}


class Blueprint:
    """Of a tensor: what it takes to make one like it."""

    def __init__(self, tensor: Tensor) -> None:
        self.shape, self.stride, self.dtype = tuple(tensor.shape), tensor.stride(), tensor.dtype

    def __repr__(self) -> str:
        return f"{self.dtype}{self.shape}{self.stride}"

    def build(self) -> Tensor:
        places = 1 + sum((side - 1) * stride for side, stride in zip(self.shape, self.stride, strict=True))
        return torch.randn(places, dtype=self.dtype).as_strided(self.shape, self.stride)


class Products(TorchDispatchMode):
    """Calls of products, equal ones counted, and their floating-point operations."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.calls: dict[str, Call] = {}
        self.operations: dict[str, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        count = COUNTS.get(func._overloadpacket)
        if count is None:
            with self:  # a product may be part of it: in inference mode layers arrive here as one
                parts = func.decompose(*args, **kwargs)
            return func(*args, **kwargs) if parts is NotImplemented else parts
        result = func(*args, **kwargs)
        call = (func, *tree_map_only(Tensor, Blueprint, (args, kwargs)))
        key = repr(call)
        self.counts[key] += 1
        self.calls[key] = call
        if key not in self.operations:
            self.operations[key] = count(*args, **kwargs, out_val=result)
        return result


def record(run: Callable[[], object]) -> Products:
    with Products() as products:
        run()
    return products


def again(call: Call, repeats: int) -> float:
    """Median seconds of a recorded product by itself."""
    func, args, kwargs = call
    args, kwargs = tree_map(lambda a: a.build() if isinstance(a, Blueprint) else a, (args, kwargs))
    with torch.no_grad():
        return median_seconds(lambda: func(*args, **kwargs), repeats)


def median_seconds(run: Callable[[], object], repeats: int) -> float:
    """After a first run that is not counted."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def optimizer_seconds(run: step.Run, repeats: int) -> float:
    """Median seconds of the optimizer's step, clipping included, by itself."""
    run.model.train()
    run.forward(run.x).square().mean().backward()
    return median_seconds(run.optimizer.step, repeats)


def measure_case(case: str, variant: str, kind: str, repeats: int) -> dict[str, Any]:
    network, *sizes = step.CASES[case]
    run = step.Run(network, variant, *sizes)
    run.optimizer = build_optimizer(run.model, BASE)
    whole = getattr(run, kind)
    products = record(whole)
    before = median_seconds(whole, repeats)
    seconds = {key: products.counts[key] * again(call, repeats) for key, call in products.calls.items()}
    after = median_seconds(whole, repeats)  # on both sides, so that a change of the processor's pace shows
    operations = {key: products.counts[key] * number for key, number in products.operations.items()}
    row = {
        "case": case,
        "kind": kind,
        "seconds": [round(before, 4), round(after, 4)],
        "products_seconds": round(sum(seconds.values()), 4),
        "gflop": round(sum(operations.values()) / 1e9, 1),
        "gflop_per_second": round(sum(operations.values()) / sum(seconds.values()) / 1e9, 1),
    }
    row["share"] = round(row["products_seconds"] / statistics.mean(row["seconds"]), 3)
    if kind == "step":
        row["optimizer_seconds"] = round(optimizer_seconds(run, repeats), 4)
    longest = sorted(seconds, key=seconds.__getitem__, reverse=True)[:20]
    row["longest"] = [
        {
            "product": key,
            "times": products.counts[key],
            "seconds": round(seconds[key], 4),
            "gflop_per_second": round(operations[key] / seconds[key] / 1e9, 1),
        }
        for key in longest
    ]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=list(CASES), help="of step.py")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--variant", default="reca", help="of step.py")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, help="also write the JSON there")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    result: dict[str, Any] = {"benchmark": "products", "threads": arguments.threads, "torch": torch.__version__}
    result["rows"] = []
    print(
        "| case | kind | seconds, before and after | products | share | GFLOP | GFLOP/s | optimizer |\n"
        + "| --- " * 8
        + "|"
    )
    for case in arguments.cases:
        for kind in arguments.kinds:
            row = measure_case(case, arguments.variant, kind, arguments.repeats)
            result["rows"].append(row)
            cells = (row[column] for column in ("products_seconds", "share", "gflop", "gflop_per_second"))
            shown = " and ".join(map(str, row["seconds"]))
            print(
                f"| {case} | {kind} | {shown} | {' | '.join(map(str, cells))} | {row.get('optimizer_seconds', '')} |",
                flush=True,
            )
    measure.finish(result, arguments.output)


if __name__ == "__main__":
    main()

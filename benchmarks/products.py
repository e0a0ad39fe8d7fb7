"""How much of an inference and of a training step its products take: matrix products, convolutions, fused attention.

Every product of a run is recorded with the shapes and strides of its tensors, and run again by itself on random
numbers, several times, its operands still in the cache. Their sum is the least that a run with these products takes: no
change to layouts, norms, activations or the optimizer goes below it. The optimizer is timed by itself, too, and the
rate of each product is told, so that slow ones can be found and replaced. For example::

    python benchmarks/products.py --threads 1 --output benchmarks/results/products_cpu.json
"""

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass
class Product:
    """A call with blueprints for tensors, its floating-point operations, and how often a run makes it."""

    call: tuple[Any, tuple[Any, ...], dict[str, Any]]
    operations: int
    times: int = 0

    def build(self) -> measure.Work:
        """The call on random numbers."""
        func, args, kwargs = self.call
        args, kwargs = tree_map(lambda a: a.build() if isinstance(a, Blueprint) else a, (args, kwargs))
        return torch.no_grad()(lambda: func(*args, **kwargs))


class Products(TorchDispatchMode):
    """The products of a run, by their calls' text."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, Product] = {}

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
        if key not in self.found:
            self.found[key] = Product(call, count(*args, **kwargs, out_val=result))
        self.found[key].times += 1
        return result


def median_seconds(work: measure.Work, arguments: argparse.Namespace) -> float:
    """Of one work, run by itself."""
    return measure.alternate({"alone": work}, arguments)["alone"]


def optimizer_seconds(run: step.Run, arguments: argparse.Namespace) -> float:
    """Median seconds of the optimizer's step, clipping included, by itself."""
    run.model.train()
    run.forward(run.x).square().mean().backward()
    return median_seconds(run.optimizer.step, arguments)


def measure_case(case: str, kind: str, arguments: argparse.Namespace) -> dict[str, Any]:
    network, *sizes = step.CASES[case]
    run = step.Run(network, arguments.variant, *sizes)
    run.optimizer = build_optimizer(run.model, BASE)
    whole = getattr(run, kind)
    with Products() as products:
        whole()
    found = products.found
    before = median_seconds(whole, arguments)
    seconds = {key: product.times * median_seconds(product.build(), arguments) for key, product in found.items()}
    after = median_seconds(whole, arguments)  # on both sides, so that a change of the processor's pace shows
    operations = {key: product.times * product.operations for key, product in found.items()}
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
        row["optimizer_seconds"] = round(optimizer_seconds(run, arguments), 4)
    longest = sorted(seconds, key=seconds.__getitem__, reverse=True)[:20]
    row["longest"] = [
        {
            "product": key,
            "times": found[key].times,
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
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, help="also write the JSON there")
    parser.set_defaults(device="cpu", processor_time=False)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    print("| case | kind | seconds, before and after | products | share | GFLOP | GFLOP/s | optimizer |")
    print("| --- " * 8 + "|")
    for case in arguments.cases:
        for kind in arguments.kinds:
            row = measure_case(case, kind, arguments)
            rows.append(row)
            cells = (row[column] for column in ("products_seconds", "share", "gflop", "gflop_per_second"))
            shown = " and ".join(map(str, row["seconds"]))
            optimizer = row.get("optimizer_seconds", "")
            print(f"| {case} | {kind} | {shown} | {' | '.join(map(str, cells))} | {optimizer} |", flush=True)
    measure.finish({"benchmark": "products", **measure.environment(arguments), "rows": rows}, arguments.output)


if __name__ == "__main__":
    main()

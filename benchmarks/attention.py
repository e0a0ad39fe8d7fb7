"""One layer of window attention, by every implementation, against the explicit product over all padded windows.

The layer is the attention of :class:`nnunet_reca.blocks.SwinBlock` on a token map, projections included. ``explicit``
pads, rolls, cuts windows and computes softmax(scale q k^T + bias + mask) v with matrix products, as published;
``masked`` does so with PyTorch's fused attention and a bias for each window, as the package does for windows of fewer
than 64 tokens; for larger ones it takes ``pieces`` on the CPU and ``kinds``, whose windows share biases, elsewhere.
``flex`` is PyTorch's FlexAttention with the bias as a captured tensor, compiled on CUDA. Outputs are checked to be
equal; an implementation that fails is left out, and why is told. ``map`` is the tokens per axis; head_dim is 8, or that
of ``--head-dim``. On CUDA the MiB are what a training call adds at its peak. The last line is one JSON object.
Run: ``python benchmarks/attention.py [--device cuda --precision fp16 --head-dim 16]``
"""

from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import measure
import torch
from torch import Tensor
from torch.nn import functional as F

from nnunet_reca.blocks import SwinBlock
from nnunet_reca.ops import (
    crop_map,
    frame_map,
    join_heads,
    merge_windows,
    partition_windows,
    shift_map,
    shifted_window_mask,
    split_heads,
)
from nnunet_reca.ops._kinds_attention import kinds_attention
from nnunet_reca.ops._masked_attention import masked_attention
from nnunet_reca.ops._pieces_attention import pieces_attention

#: window, map, heads; the last two are SwinUNETR's first stage at 96^3, and one that takes no time
CASES = [
    ((7, 7, 7), (32, 32, 32), 3),
    ((7, 7, 7), (16, 16, 16), 6),
    ((7, 7, 7), (8, 8, 8), 12),
    ((7, 7, 7), (4, 4, 4), 24),
    ((6, 6, 6), (24, 24, 24), 3),
    ((6, 6, 6), (12, 12, 12), 6),
    ((4, 4, 4), (32, 32, 32), 3),
    ((4, 4, 4), (16, 16, 16), 12),
    ((7, 7), (56, 56), 3),
    ((7, 7), (14, 14), 12),
    ((7, 7, 7), (48, 48, 48), 3),
    ((4, 4), (12, 12), 1),
]


def explicit(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, scale: float | None = None) -> Tensor:
    """Stands in for PyTorch's fused attention."""
    logits = q * q.shape[-1] ** -0.5 @ k.mT
    return torch.softmax(logits if attn_mask is None else logits + attn_mask, dim=-1) @ v


def flex(
    query: Tensor, k: Tensor, v: Tensor, bias: Tensor, k_pad: Tensor, v_pad: Tensor, window: Any, shift: Any
) -> Tensor:
    """FlexAttention: windows along the batch axis, bias and mask as captured tensors."""
    spatial, padded, heads = k.shape[1:-1], query.shape[1:-1], bias.shape[0]
    maps = (query, frame_map(k, window, shift, k_pad), frame_map(v, window, shift, v_pad))
    q, k, v = (split_heads(partition_windows(m, window), heads).contiguous() for m in maps)
    mask = shifted_window_mask(padded, window, shift, device=q.device)
    bias = bias.to(q.dtype)

    def score(logit: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        logit = logit + bias[h, i, j]
        return logit if mask is None else torch.where(mask[b % mask.shape[0], i, j], logit, float("-inf"))

    from torch.nn.attention.flex_attention import flex_attention

    attention = torch.compile(flex_attention, dynamic=False) if q.device.type == "cuda" else flex_attention
    frame = merge_windows(join_heads(attention(q, k, v, score_mod=score)), window, padded)
    return crop_map(shift_map(frame, [-d for d in shift]), spatial)


WAYS: dict[str, tuple[Callable[..., Tensor], Any]] = {
    "explicit": (masked_attention, explicit),
    "masked": (masked_attention, F.scaled_dot_product_attention),
    "kinds": (kinds_attention, F.scaled_dot_product_attention),
    "pieces": (pieces_attention, F.scaled_dot_product_attention),
    "flex": (flex, F.scaled_dot_product_attention),
}


def way(block: SwinBlock, name: str) -> Callable[[Tensor], Tensor]:
    """The block's attention, projections included, by one implementation."""
    attn, (implementation, fused) = block.attn, WAYS[name]

    def run(x: Tensor) -> Tensor:
        window, shift = block.fitted(x.shape[1:-1])
        q, k, v = attn.qkv(x).chunk(3, dim=-1)
        q_pad, k_pad, v_pad = attn.qkv.bias.to(q.dtype).chunk(3)
        query, bias = frame_map(q, window, shift, q_pad), attn.relative_position_bias(window)
        with mock.patch.object(F, "scaled_dot_product_attention", fused):
            return attn.proj(implementation(query, k, v, bias, k_pad, v_pad, window, shift))

    return run


def training_mib(work: Callable[[], object]) -> float:
    """MiB that a call adds at its peak, on CUDA."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    work()
    torch.cuda.synchronize()
    return round((torch.cuda.max_memory_allocated() - before) / 2**20, 1)


def drop_failing(candidates: dict[str, Any], attempt: Callable[[Any], object]) -> dict[str, str]:
    """Why implementations fail, by their name; they are taken out of the candidates."""
    failed = {}
    for name in [n for n in candidates if n != "explicit"]:
        try:
            attempt(candidates[name])
        except Exception as error:  # of a kernel that a device or a version lacks
            failed[name] = f"{type(error).__name__}: {str(error)[:200]}"
            del candidates[name]
    return failed


def measure_case(window: tuple[int, ...], size: tuple[int, ...], heads: int, shifted: bool, arguments: Any) -> Any:
    torch._dynamo.reset()  # what other cases were compiled to counts against a limit
    torch.manual_seed(0)
    dim = arguments.head_dim * heads
    shift = tuple(w // 2 if shifted else 0 for w in window)
    dtype = measure.DTYPES[arguments.precision] or torch.float32
    block = SwinBlock(dim, heads, window, shift).to(arguments.device, dtype)
    x = torch.randn(arguments.batch, *size, dim, device=arguments.device, dtype=dtype, requires_grad=True)
    grad = torch.randn_like(x)

    def inference(way: Any) -> None:
        with torch.inference_mode():
            way(x)

    def training(way: Any) -> None:
        way(x).backward(grad)

    candidates = {name: way(block, name) for name in arguments.ways}
    expected = candidates["explicit"](x).detach()
    tolerance = 1e-4 if arguments.precision == "fp32" else 0.05

    def checked(way: Any) -> None:
        training(way)
        torch.testing.assert_close(way(x).detach(), expected, atol=tolerance / 10, rtol=tolerance)

    failed = drop_failing(candidates, checked)
    if failed and arguments.device == "cpu":  # where all of them are there
        raise RuntimeError(failed)
    row: dict[str, Any] = {"window": window, "map": size, "heads": heads, "shifted": shifted, "failed": failed}
    for name, work in (("forward", inference), ("training", training)):
        works = {key: (lambda way=way, work=work: work(way)) for key, way in candidates.items()}
        row[name] = measure.alternate(works, arguments)
    if arguments.device == "cuda":
        row["training_mib"] = {name: training_mib(lambda way=way: training(way)) for name, way in candidates.items()}
    return row


def show(row: dict[str, Any], ways: Sequence[str]) -> None:
    cells = []
    for kind in ("forward", "training"):
        for name in ways:
            seconds = row[kind].get(name)
            if seconds is None:
                cells.append("failed")
                continue
            mib = f", {row['training_mib'][name]:.0f} MiB" if kind == "training" and "training_mib" in row else ""
            cells.append(f"{1e3 * seconds:.2f} ({seconds / row[kind]['explicit']:.2f}{mib})")
    sizes = ["x".join(map(str, row[n])) for n in ("window", "map")]
    print(f"| {' | '.join([*sizes, str(row['heads']), 'yes' if row['shifted'] else 'no', *cells])} |", flush=True)
    for name, why in row["failed"].items():
        print(f"{name} failed: {why}", flush=True)


def main() -> None:
    parser = measure.parser(__doc__)
    parser.set_defaults(repeats=9)
    parser.add_argument("--precision", choices=measure.DTYPES, default="fp32")
    parser.add_argument("--head-dim", type=int, default=8)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--cases", type=int, nargs="+", choices=range(len(CASES)), default=list(range(len(CASES) - 2)))
    parser.add_argument("--ways", nargs="+", choices=WAYS, help="default: all, FlexAttention on CUDA only")
    arguments = parser.parse_args()
    arguments.ways = arguments.ways or [w for w in WAYS if w != "flex" or arguments.device == "cuda"]
    arguments.ways = ["explicit", *(w for w in arguments.ways if w != "explicit")]
    torch.set_num_threads(arguments.threads)
    columns = [f"{kind} {name}" for kind in ("forward", "training") for name in arguments.ways]
    print("milliseconds, in brackets the ratio to the explicit product")
    print(f"| window | map | heads | shifted | {' | '.join(columns)} |\n|{' --- |' * (4 + len(columns))}")
    rows = []
    for case in arguments.cases:
        for shifted in (False, True):
            rows.append(measure_case(*CASES[case], shifted, arguments))
            show(rows[-1], arguments.ways)
    about = {"precision": arguments.precision, "head_dim": arguments.head_dim, "batch": arguments.batch}
    measure.finish(
        {"benchmark": "attention", **about, **measure.environment(arguments), "rows": rows}, arguments.output
    )


if __name__ == "__main__":
    main()

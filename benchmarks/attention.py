"""One layer of window attention: as the networks run it, against the explicit product over all padded windows.

The layer is the attention of :class:`nnunet_reca.blocks.SwinBlock` on a token map, projections included. ``explicit``
pads, rolls, cuts windows and computes softmax(scale q k^T + bias + mask) v with matrix products, as published;
``masked`` does so with PyTorch's fused attention, as the package does elsewhere than on the CPU, and there for windows
of fewer than 64 tokens; ``pieces`` is what it does there for all others. Outputs are checked to be equal. ``map`` is
the tokens per axis; head_dim is 8. The last line is one JSON object.
Run: ``python benchmarks/attention.py [--device cuda]``
"""

from collections.abc import Callable
from typing import Any
from unittest import mock

import measure
import torch
from torch import Tensor
from torch.nn import functional as F

from nnunet_reca.blocks import SwinBlock
from nnunet_reca.ops import frame_map
from nnunet_reca.ops._masked_attention import masked_attention
from nnunet_reca.ops._pieces_attention import pieces_attention

#: window, map, heads
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
]


def explicit(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, scale: float | None = None) -> Tensor:
    """Stands in for PyTorch's fused attention."""
    logits = q * q.shape[-1] ** -0.5 @ k.mT
    return torch.softmax(logits if attn_mask is None else logits + attn_mask, dim=-1) @ v


def ways(block: SwinBlock, device: str) -> dict[str, Callable[[Tensor], Tensor]]:
    """The block's attention, projections included, by each implementation."""
    attn = block.attn

    def by(implementation: Callable[..., Tensor], fused: Any = F.scaled_dot_product_attention) -> Callable[..., Tensor]:
        def run(x: Tensor) -> Tensor:
            window, shift = block.fitted(x.shape[1:-1])
            q, k, v = attn.qkv(x).chunk(3, dim=-1)
            q_pad, k_pad, v_pad = attn.qkv.bias.chunk(3)
            query, bias = frame_map(q, window, shift, q_pad), attn.relative_position_bias(window)
            with mock.patch.object(F, "scaled_dot_product_attention", fused):
                return attn.proj(implementation(query, k, v, bias, k_pad, v_pad, window, shift))

        return run

    found = {"explicit": by(masked_attention, explicit), "masked": by(masked_attention)}
    return {**found, "pieces": by(pieces_attention)} if device == "cpu" else found


def measure_case(window: tuple[int, ...], size: tuple[int, ...], heads: int, shifted: bool, arguments: Any) -> Any:
    torch.manual_seed(0)
    dim = 8 * heads
    shift = tuple(w // 2 if shifted else 0 for w in window)
    block = SwinBlock(dim, heads, window, shift).to(arguments.device)
    x = torch.randn(1, *size, dim, device=arguments.device, requires_grad=True)
    grad = torch.randn_like(x)
    candidates = ways(block, arguments.device)
    outputs = [way(x) for way in candidates.values()]
    for output in outputs[1:]:
        torch.testing.assert_close(output, outputs[0], atol=1e-5, rtol=1e-4)

    def inference(way: Any) -> None:
        with torch.inference_mode():
            way(x)

    def training(way: Any) -> None:
        way(x).backward(grad)

    row: dict[str, Any] = {"window": window, "map": size, "heads": heads, "shifted": shifted}
    for name, work in (("forward", inference), ("training", training)):
        works = {key: (lambda way=way, work=work: work(way)) for key, way in candidates.items()}
        row[name] = measure.alternate(works, arguments)
    return row


def main() -> None:
    parser = measure.parser(__doc__)
    parser.set_defaults(repeats=9)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    names = list(ways(SwinBlock(8, 1, (2, 2), (0, 0)), arguments.device))
    columns = [f"{kind} {name}" for kind in ("forward", "training") for name in names]
    print("milliseconds, in brackets the ratio to the explicit product")
    print(f"| window | map | heads | shifted | {' | '.join(columns)} |\n|{' --- |' * (4 + len(columns))}")
    rows = []
    for case in CASES:
        for shifted in (False, True):
            row = measure_case(*case, shifted, arguments)
            rows.append(row)
            cells = [
                f"{1e3 * s:.2f} ({s / row[kind]['explicit']:.2f})"
                for kind in ("forward", "training")
                for s in row[kind].values()
            ]
            sizes = ["x".join(map(str, row[n])) for n in ("window", "map")]
            print(f"| {' | '.join([*sizes, str(row['heads']), 'yes' if shifted else 'no', *cells])} |", flush=True)
    measure.finish({"benchmark": "attention", **measure.environment(arguments), "rows": rows}, arguments.output)


if __name__ == "__main__":
    main()

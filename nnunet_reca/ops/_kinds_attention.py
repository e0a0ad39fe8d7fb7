"""Window attention by kinds of windows: as by masking, but windows with the same mask share one bias.

A shift cuts the last window of an axis in two and leaves the others whole, so that the windows of a map are of at most
2^d kinds, each a box of the frame. PyTorch's fused attention on a GPU reads one bias for a whole batch (its batch axis
has stride 0), so that no bias is stored per window: windows of a kind lie along the batch axis, and where each window
is of a kind of its own, windows lie beside the heads.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from nnunet_reca.ops.windows import crop_map, frame_map, shift_map, shifted_window_mask


class Span(NamedTuple):
    """Neighbouring windows of one axis of the frame: all of one kind, or each of its own."""

    windows: int
    kinds: int


def axis_spans(windows: int, *, shifted: bool) -> tuple[Span, ...]:
    """Windows of an axis by kind; two windows, of two kinds, are left together: that is one call instead of two."""
    if not shifted:
        return (Span(windows, 1),)
    for few in (1, 2):  # a plain number, also where a compiler knows the size of a map by a symbol only
        if windows == few:
            return (Span(few, few),)
    return Span(windows - 1, 1), Span(1, 1)


def kinds_attention(
    query: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    k_pad: Tensor,
    v_pad: Tensor,
    window: Sequence[int],
    shift: Sequence[int],
) -> Tensor:
    """softmax(head_dim^-0.5 query k^T + bias) v in windows; arguments of :func:`nnunet_reca.ops.window_attention`."""
    spatial, padded = k.shape[1:-1], query.shape[1:-1]
    axes = [axis_spans(s // w, shifted=d > 0) for s, w, d in zip(padded, window, shift, strict=True)]
    maps = (query, frame_map(k, window, shift, k_pad), frame_map(v, window, shift, v_pad))

    def attend(maps: Sequence[Tensor], bias: Tensor, box: Sequence[Span]) -> Tensor:
        q, k, v = (_windows(m, box, window, bias.shape[-3]) for m in maps)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.flatten(0, -3).unsqueeze(0))
        return _unfolded(out, box, window)

    frame = _in_boxes(attend, maps, _biases(bias.to(k.dtype), axes, window, shift), axes, window)
    return crop_map(shift_map(frame.reshape(query.shape), [-d for d in shift]), spatial)


def _biases(bias: Tensor, axes: Sequence[Sequence[Span]], window: Sequence[int], shift: Sequence[int]) -> Tensor:
    """Bias of each kind of windows, -inf where the shift forbids attention, (*kinds, heads, N, N)."""
    kinds = [sum(span.kinds for span in spans) for spans in axes]
    mask = shifted_window_mask([n * w for n, w in zip(kinds, window, strict=True)], window, shift, device=bias.device)
    if mask is not None:
        bias = torch.where(mask.unsqueeze(1), bias, float("-inf"))
    return bias.reshape(*kinds, *bias.shape[-3:])


def _in_boxes(
    attend: Callable[[Sequence[Tensor], Tensor, Sequence[Span]], Tensor],
    maps: Sequence[Tensor],
    biases: Tensor,
    axes: Sequence[Sequence[Span]],
    window: Sequence[int],
    box: tuple[Span, ...] = (),
) -> Tensor:
    """Attended values of every box, joined; splits and joins, unlike slices, have gradients without empty maps."""
    axis = len(box)
    if axis == len(axes):
        return attend(maps, biases, box)
    spans = axes[axis]
    parts = zip(*(m.split([s.windows * window[axis] for s in spans], dim=1 + axis) for m in maps), strict=True)
    of_spans = biases.split([s.kinds for s in spans], dim=axis)
    joined = [
        _in_boxes(attend, part, of_span, axes, window, (*box, span))
        for part, of_span, span in zip(parts, of_spans, spans, strict=True)
    ]
    return joined[0] if len(joined) == 1 else torch.cat(joined, dim=1 + 2 * axis)


def _order(box: Sequence[Span]) -> list[int]:
    """Axes of (B, windows, window, windows, window, ..., heads, head_dim) as :func:`_windows` orders them."""
    d = len(box)
    shared, own = ([1 + 2 * i for i, span in enumerate(box) if (span.kinds > 1) == many] for many in (False, True))
    return [0, *shared, *own, 1 + 2 * d, *range(2, 1 + 2 * d, 2), 2 + 2 * d]


def _windows(x: Tensor, box: Sequence[Span], window: Sequence[int], heads: int) -> Tensor:
    """Box of a frame, (B, *S, C) -> (B * windows of one kind, kinds * heads, N, head_dim)."""
    for axis in reversed(range(len(box))):
        x = x.unflatten(1 + axis, (box[axis].windows, window[axis]))
    x = x.unflatten(-1, (heads, -1)).permute(_order(box))
    first = 1 + sum(span.kinds == 1 for span in box)
    return x.flatten(-1 - len(box), -2).flatten(first, -3).flatten(0, first - 1)


def _unfolded(x: Tensor, box: Sequence[Span], window: Sequence[int]) -> Tensor:
    """Inverse of :func:`_windows`, without joining axes: a view, (B, windows, window, ..., heads, head_dim)."""
    shared, own = ([span.windows for span in box if (span.kinds > 1) == many] for many in (False, True))
    x = x.unflatten(2, tuple(window)).unflatten(1, (*own, -1)).unflatten(0, (-1, *shared))
    order = _order(box)
    return x.permute([order.index(axis) for axis in range(len(order))])

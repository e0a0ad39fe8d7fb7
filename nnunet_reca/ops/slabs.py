"""Convolutions and statistics of a 3D map on the CPU, a slab of slices at a time.

A map at full resolution is larger than a processor's caches, and on the CPU each new one has to be given pages by the
system first, which takes longer than the arithmetic on it. Inference therefore goes through such maps slab by slab.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from nnunet_reca.ops._torch import convolution, watched

Method = Literal["winograd", "onednn", "torch"]

#: Bytes of a slab: few enough for a processor's cache.
SLAB = 12 << 20
#: Slices that Winograd's convolution computes together; slabs have a multiple of it.
TILE = 4
#: Channels of the input from which Winograd's convolution is the faster one; measured, as is the next.
WIDE = 16
#: Voxels per channel of the output from which a map is large next to the kernel.
LARGE = 16
#: F(4, 3) of Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks", section 4.3, for one axis
INPUT_TRANSFORM = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
KERNEL_TRANSFORM = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)


def infers_on_cpu(x: Tensor) -> bool:
    """Whether x is a plain tensor on the CPU in eager mode, whose gradients nothing records.

    Traces, and modes that look at each operation, such as ``torch.utils.flop_counter``, see the plain path.
    """
    return (
        type(x) is Tensor
        and x.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not watched()
    )


def runs_in_slabs(x: Tensor) -> bool:
    """Whether a map is computed in slabs: inference on the CPU, 3D, in a dtype of :func:`slab_dtype`."""
    return x.ndim == 5 and infers_on_cpu(x) and slab_dtype(x) in (torch.float32, torch.float64, torch.bfloat16)


def slab_dtype(x: Tensor) -> torch.dtype:
    """What convolutions compute x in: autocast's dtype, or its own."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


def empty_map(like: Tensor, batch: int, channels: int, spatial: Sequence[int]) -> Tensor:
    """Uninitialised channels-last map of like's dtype, (batch, channels, *spatial)."""
    shape = (batch, channels, *spatial)
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last_3d)


def slab_depth(like: Tensor, channels: int, halo: int, slab_bytes: int = SLAB) -> int:
    """Slices of a slab of ``channels`` on a map of like's size: a multiple of :data:`TILE`, or the whole map.

    At least two halos, as :func:`iterate_slabs` needs.
    """
    depth = slab_bytes // (channels * like.shape[3:].numel() * like.element_size()) // TILE * TILE
    return min(max(depth, TILE, -(-2 * halo // TILE) * TILE), like.shape[2])


def iterate_slabs(
    write: Callable[[Tensor, int], None], like: Tensor, channels: int, depth: int, halo: int
) -> Iterator[tuple[slice, Tensor]]:
    """Go through a map that is computed slab by slab, each slice once.

    Args:
        write: writes the map's slices from ``start`` on to ``out``, (1, channels, n, H, W), called as
            ``write(out, start)``; slices of earlier slabs are not asked for again.
        like: any map of the same spatial size and dtype.
        channels: of the map.
        depth: slices of a slab, at least ``2 * halo`` unless one slab is the whole map.
        halo: slices of the neighbours on both sides, zero beyond the map.

    Yields:
        The slices of the slab, and its map with halos, (1, channels, depth + 2 halo, H, W), valid until the next.

    Raises:
        ValueError: if a slab is thinner than two halos.
    """
    total, *plane = like.shape[2:]
    if depth < min(2 * halo, total):
        raise ValueError(f"expected slabs of at least {2 * halo} slices for a halo of {halo}, got {depth}")
    buffer = empty_map(like, 1, channels, (depth + 2 * halo, *plane))
    buffer[:, :, :halo].zero_()
    written = 0
    for start in range(0, total, depth):
        stop = min(start + depth, total)
        if start:
            buffer[:, :, : 2 * halo] = buffer[:, :, depth : depth + 2 * halo]
        slab = buffer[:, :, : stop - start + 2 * halo]
        first, last = (z - start + halo for z in (written, min(stop + halo, total)))
        if last > first:
            write(slab[:, :, first:last], written)
            written += last - first
        slab[:, :, last:].zero_()
        yield slice(start, stop), slab


def convolution_method(weight: Tensor, voxels: int) -> Method:
    """The fastest way as measured; on small maps with many channels the kernel is the larger part.

    Winograd's sums would lose bfloat16's few digits, and processors with units for it multiply faster than they add.

    Args:
        weight: (C_out, C_in, k_D, k_H, k_W).
        voxels: of the whole map.
    """
    if voxels < LARGE * weight.shape[0]:
        return "torch"
    if weight.dtype == torch.bfloat16:
        return "onednn"
    return "winograd" if weight.shape[2] == 3 and weight.shape[1] >= WIDE else "onednn"


class SlabConvolution:
    """Convolution with a kernel of odd sides, zero-padded to keep its input's size, without bias.

    ``conv(slab, out)`` maps (1, C_in, n + 2 halo, H, W), as :func:`iterate_slabs` yields it, to ``out``,
    (1, C_out, n, H, W). Where the kernel spans three slices, four at a time take six convolutions of planes instead of
    twelve (Winograd). In float32 its largest error is some 10 times that of the convolution, about 2e-5 of the
    output's deviation.

    Args:
        weight: (C_out, C_in, k_D, k_H, k_W).
        method: "winograd" for kernels that span three slices, "onednn", or "torch" for PyTorch's own choice; see
            :func:`convolution_method`.
    """

    def __init__(self, weight: Tensor, method: Method) -> None:
        self.halo = weight.shape[2] // 2
        self.weight = weight
        self.padding = tuple(k // 2 for k in weight.shape[3:])
        self.method = method
        if method == "winograd":
            self.weight = torch.einsum("id,ocdhw->iochw", weight.new_tensor(KERNEL_TRANSFORM), weight)
            self.input_transform = weight.new_tensor(INPUT_TRANSFORM)

    def __call__(self, slab: Tensor, out: Tensor) -> None:
        if self.method == "winograd":
            for start in range(0, out.shape[2], TILE):
                self._tile(slab[:, :, start : start + TILE + 2], out[0, :, start : start + TILE])
        elif self.method == "onednn":
            out.copy_(convolution(slab, self.weight, (0, *self.padding)))
        else:
            out.copy_(F.conv3d(slab, self.weight, padding=(0, *self.padding)))

    def _tile(self, slab: Tensor, out: Tensor) -> None:
        """(1, C_in, n + 2, H, W) -> ``out``, (C_out, n, H, W); n is at most :data:`TILE`.

        Of the six products a to f, slice z is (b + s c) + 2^z (d + s e) with s = (-1)^z, and a more in the first, f
        more in the last.
        """
        missing = TILE + 2 - slab.shape[2]
        slices = (F.pad(slab, (0, 0, 0, 0, 0, missing)) if missing else slab)[0].permute(1, 2, 3, 0)
        transformed = (self.input_transform @ slices.flatten(1)).view(slices.shape).permute(0, 3, 1, 2)
        a, b, c, d, e, f = (
            convolution(plane, weight, self.padding)[0]
            for plane, weight in zip(transformed.split(1), self.weight, strict=True)
        )
        even, odd, even_2, odd_2 = b + c, b.sub_(c), d + e, d.sub_(e)
        for z, target in enumerate(out.unbind(1)):
            pair, pair_2 = (odd, odd_2) if z % 2 else (even, even_2)
            torch.add(pair, pair_2, alpha=2**z, out=target)
            if z == 0:
                target.add_(a)
            elif z == TILE - 1:
                target.add_(f)


class Moments:
    """Mean and variance per channel of a map that comes in slabs.

    Two slabs of m and n voxels join to the mean a + (b - a) n / (m + n) and the sum of squared deviations
    A + B + (b - a)^2 m n / (m + n) (Chan, Golub and LeVeque 1979).
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: Tensor | float = 0.0
        self.deviations: Tensor | float = 0.0

    def add(self, slab: Tensor) -> None:
        """Count in a slab, (1, C, n, H, W); in float32 at least."""
        slab = slab.to(torch.promote_types(slab.dtype, torch.float32))
        count, axes = slab[0, 0].numel(), (2, 3, 4)
        mean = slab.sum(axes, keepdim=True) / count
        centred = slab - mean
        deviations = centred.mul_(centred).sum(axes, keepdim=True)
        total, step = self.count + count, mean - self.mean
        self.deviations = deviations + step.square() * (self.count * count / total) + self.deviations
        self.mean = step * (count / total) + self.mean
        self.count = total

    def scale_and_shift(self, eps: float) -> tuple[Tensor, Tensor]:
        """a and b of the instance norm a x + b, (1, C, 1, 1, 1).

        Raises:
            ValueError: if there is no more than one voxel.
        """
        if self.count <= 1 or not isinstance(self.deviations, Tensor):
            raise ValueError(
                f"expected more than one voxel to normalise over, got {self.count} per channel; use larger patches"
            )
        scale = torch.rsqrt(self.deviations / self.count + eps)
        return scale, -self.mean * scale


def upsample_slices(x: Tensor, weight: Tensor, out: Tensor, start: int) -> None:
    """Slices of a transposed convolution whose stride (s_D, s_H, s_W) is its kernel's size, without bias.

    Args:
        x: map, (1, C_in, D, H, W).
        weight: (C_in, C_out, s_D, s_H, s_W).
        out: gets the result's slices from ``start`` on, (1, C_out, n, H s_H, W s_W).
        start: first slice.
    """
    deep, high, wide = weight.shape[2:]
    matrices = weight.permute(2, 0, 3, 4, 1).flatten(2)  # (s_D, C_in, s_H * s_W * C_out)
    tokens = x[0].permute(1, 2, 3, 0)
    height, width = tokens.shape[1:3]
    for z, target in enumerate(out[0].unbind(1), start):
        upsampled = (tokens[z // deep] @ matrices[z % deep]).unflatten(-1, (high, wide, -1))
        target.unflatten(2, (width, wide)).unflatten(1, (height, high)).copy_(upsampled.permute(4, 0, 2, 1, 3))

"""Hybrid ResNet of TransUNet and of Google's R50+ViT: weight-standardised convolutions and group norm."""

from collections.abc import Sequence

from timm.layers import StdConv2d
from torch import Tensor, nn
from torch.nn import functional as F

GROUPS = 32


def standardised_conv(
    input_channels: int, output_channels: int, kernel_size: int, stride: Sequence[int] = (1, 1)
) -> nn.Module:
    """Convolution whose kernels have mean 0 and variance 1, (B, C_in, *S) -> (B, C_out, *(S / stride))."""
    return StdConv2d(input_channels, output_channels, kernel_size, tuple(stride), padding=kernel_size // 2, eps=1e-5)


class Bottleneck(nn.Module):
    """relu(shortcut(x) + residual(x)), (B, C_in, *S) -> (B, 4 width, *(S / stride)).

    The 3x3 convolution strides. The shortcut is projected, and normalised per channel, where the shape changes.

    Args:
        input_channels: channels of x.
        width: channels of the 3x3 convolution, a multiple of 32.
        stride: per axis.
    """

    def __init__(self, input_channels: int, width: int, stride: Sequence[int] = (1, 1)) -> None:
        super().__init__()
        output_channels = 4 * width
        self.residual = nn.Sequential(
            standardised_conv(input_channels, width, 1),
            nn.GroupNorm(GROUPS, width, eps=1e-6),
            nn.ReLU(inplace=True),
            standardised_conv(width, width, 3, stride),
            nn.GroupNorm(GROUPS, width, eps=1e-6),
            nn.ReLU(inplace=True),
            standardised_conv(width, output_channels, 1),
            nn.GroupNorm(GROUPS, output_channels, eps=1e-6),
        )
        self.shortcut: nn.Module = nn.Identity()
        if input_channels != output_channels or any(s != 1 for s in stride):
            self.shortcut = nn.Sequential(
                standardised_conv(input_channels, output_channels, 1, stride),
                nn.GroupNorm(output_channels, output_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.residual(x))


class HybridResNet(nn.Module):
    """Root convolution, max pooling, then stages of bottlenecks.

    ``forward`` maps (B, C, *S) to n maps, finest first: (B, width, *(S / s_1)), then (B, width * 2^(i+1), *S_i) for
    i = 1 ... n-1 at strides s_1 s_2, s_1 s_2 s_3, ... Sources: Kolesnikov et al. 2020, "Big Transfer"; TransUNet.

    Args:
        input_channels: channels of the image.
        width: channels of the root, a multiple of 32; stages have 4, 8, 16 times as many.
        layers: bottlenecks of each of the n - 1 stages.
        strides: s_1 of the root convolution, s_2 of the pooling, s_3 ... s_n of the second and later stages.
        valid_pooling: pool inside the map only, which loses the last row and column, and pad the first stage's output
            by zeros for the decoder; needs strides of 2 and two stages.
            # as published: TransUNet and its descendants. The default pools up to the border.

    Raises:
        ValueError: for a width that is no multiple of 32, or valid pooling with other strides.
    """

    def __init__(
        self,
        input_channels: int,
        width: int,
        layers: Sequence[int],
        strides: Sequence[Sequence[int]],
        *,
        valid_pooling: bool = False,
    ) -> None:
        super().__init__()
        _check_arguments(width, layers, strides, valid_pooling)
        self.valid_pooling = valid_pooling
        self.root = nn.Sequential(
            standardised_conv(input_channels, width, 7, strides[0]),
            nn.GroupNorm(GROUPS, width, eps=1e-6),
            nn.ReLU(inplace=True),
        )
        kernel_size = tuple(s + 1 if s > 1 else 1 for s in strides[1])
        self.pool = nn.MaxPool2d(kernel_size, tuple(strides[1]), ceil_mode=not valid_pooling)
        self.stages = nn.ModuleList()
        #: of each map, finest first
        self.channels = [width] + [width * 2 ** (i + 2) for i in range(len(layers))]
        for i, (depth, stride) in enumerate(zip(layers, [(1, 1), *strides[2:]], strict=True)):
            stage = [Bottleneck(self.channels[i], width * 2**i, stride)]
            stage += [Bottleneck(self.channels[i + 1], width * 2**i) for _ in range(depth - 1)]
            self.stages.append(nn.Sequential(*stage))

    def forward(self, x: Tensor) -> list[Tensor]:
        features = [self.root(x)]
        x = self.pool(features[0])
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        if self.valid_pooling:
            features[1] = F.pad(features[1], (0, 1, 0, 1))
        return features


def _check_arguments(width: int, layers: Sequence[int], strides: Sequence[Sequence[int]], valid_pooling: bool) -> None:
    if width < GROUPS or width % GROUPS:
        below = max(GROUPS, width // GROUPS * GROUPS)
        raise ValueError(
            f"expected a ResNet width that is a positive multiple of {GROUPS} (groups of its norms), got {width}; "
            f"use {below} or {below + GROUPS}"
        )
    if any(depth < 1 for depth in layers):
        raise ValueError(f"expected at least one bottleneck in each ResNet stage, got {list(layers)}")
    if valid_pooling and (len(layers) < 2 or any(s != 2 for stride in strides for s in stride)):
        raise ValueError(
            f"expected at least three strides of 2 for the published pooling, got {[list(s) for s in strides]}; "
            "use valid_pooling=False"
        )

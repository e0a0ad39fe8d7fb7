"""Dual attention of DANet, as DA-TransUNet uses it: over positions and over channels of one map, without a carry."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nnunet_reca.blocks.conv import conv_norm_relu


class PositionAttention(nn.Module):
    """x + gate * softmax(q k^T) v over all positions, unscaled, with a gate that starts at zero.

    Args:
        dim: channels; queries and keys have an eighth of them.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dims = [max(1, dim // 8), max(1, dim // 8), dim]
        self.qkv = nn.Conv2d(dim, sum(self.dims), kernel_size=1)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, *S) -> (B, dim, *S)."""
        q, k, v = (self._tokens(part) for part in self.qkv(x).flatten(2).split(self.dims, dim=1))
        out = F.scaled_dot_product_attention(q, k, v, scale=1.0)
        return x + self.gate * out.squeeze(1).transpose(1, 2).reshape(x.shape)

    def _tokens(self, part: Tensor) -> Tensor:
        """(B, C, N) -> (B, 1, N, dim), padded by zeros.

        Zero channels change no logit; equal widths, laid out one after the other, let the kernels run that do not store
        the N x N matrix.
        """
        padded = F.pad(part, (0, 0, 0, self.dims[-1] - part.shape[1]))
        return padded.transpose(1, 2).unsqueeze(1).contiguous()


class ChannelAttention(nn.Module):
    """x + gate * softmax(-x x^T) x over all channels: unlike channels attend to each other. The gate starts at zero.

    The reference writes max(x x^T) - x x^T inside the softmax, which is the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, *S) -> (B, dim, *S)."""
        # sums over all positions overflow float16
        with torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False):
            channels = x.flatten(2).to(torch.promote_types(x.dtype, torch.float32))
            weights = torch.softmax(-(channels @ channels.mT), dim=-1)
            out = (weights @ channels).to(x.dtype)
        return x + self.gate * out.reshape(x.shape)


class DualAttentionHead(nn.Module):
    """relu(conv(position branch + channel branch)), (B, dim, *S) -> (B, dim, *S).

    Each branch squeezes the channels, attends, and convolves again. Sources: Fu et al. 2019, "Dual Attention Network
    for Scene Segmentation"; Sun et al. 2024, DA-TransUNet, without the outputs of the single branches that it never
    uses (``conv6``, ``conv7``).

    Args:
        dim: channels.
        reduction: of the channels inside the branches.
        dropout: of whole channels, before the last convolution.
        norm_momentum: weight of a batch in the running statistics.
    """

    def __init__(self, dim: int, *, reduction: int = 16, dropout: float = 0.05, norm_momentum: float = 0.1) -> None:
        super().__init__()
        inner = max(1, dim // reduction)

        def branch(attention: nn.Module) -> nn.Module:
            squeeze = conv_norm_relu(dim, inner, eps=1e-3, momentum=norm_momentum)
            return nn.Sequential(squeeze, attention, conv_norm_relu(inner, inner, eps=1e-3, momentum=norm_momentum))

        self.position = branch(PositionAttention(inner))
        self.channel = branch(ChannelAttention())
        self.out = nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(inner, dim, kernel_size=1), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.position(x) + self.channel(x))

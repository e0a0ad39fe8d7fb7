"""Layer norm as a module."""

from torch import Tensor, nn

from nnunet_reca.ops import layer_norm


class LayerNorm(nn.LayerNorm):
    """:func:`nnunet_reca.ops.layer_norm` over the last axis, with learned scale and shift.

    Args:
        dim: channels.
        eps: added to the variance.
    """

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__(dim, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.weight, self.bias, self.eps)

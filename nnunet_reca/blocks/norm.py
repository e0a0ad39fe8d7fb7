"""Layer norm as a module."""

from torch import Tensor, nn

from nnunet_reca.ops import layer_norm


class LayerNorm(nn.LayerNorm):
    """:func:`nnunet_reca.ops.layer_norm` over the last axis; arguments of ``torch.nn.LayerNorm``, with one axis."""

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.weight, self.bias, self.eps)

"""Segmentation heads of a decoder, one per scale, as nnU-Net's deep supervision wants them."""

from collections.abc import Sequence

from torch import Tensor, nn

from nnunet_reca.blocks.checkpoint import Checkpointing


class SupervisedDecoder(Checkpointing):
    """Base of the decoders: ``seg_layers[i]`` maps level i to its logits, level 0 being full resolution.

    nnU-Net switches the attribute ``deep_supervision``: with it :meth:`logits` returns those of all levels, finest
    first, otherwise those of level 0. The state dict is the same in both cases.

    Args:
        heads: one per level, finest first.
        auxiliary_heads: keep the heads of the coarser levels; deep supervision needs them.
        deep_supervision: initial value of the attribute; False also freezes the coarser heads.

    Raises:
        ValueError: for deep supervision without auxiliary heads.
    """

    def __init__(self, heads: Sequence[nn.Module], *, auxiliary_heads: bool, deep_supervision: bool) -> None:
        super().__init__()
        if deep_supervision and not auxiliary_heads:
            raise ValueError("deep_supervision=True needs heads at the coarser scales; use auxiliary_heads=True")
        self.deep_supervision = deep_supervision
        self.seg_layers = nn.ModuleList(heads if auxiliary_heads else heads[:1])
        if not deep_supervision:  # DistributedDataParallel wants a gradient for every parameter that asks for one
            self.seg_layers[1:].requires_grad_(False)

    def logits(self, levels: Sequence[Tensor]) -> Tensor | list[Tensor]:
        """Logits of the maps, one per level, the coarsest first as decoders compute them."""
        finest = self.finest_logits(levels[-1])
        if not self.deep_supervision:
            return finest
        coarser = zip(self.seg_layers[1:], reversed(levels[:-1]), strict=True)
        return [finest, *(head(level) for head, level in coarser)]

    def finest_logits(self, level: Tensor) -> Tensor:
        """Logits at full resolution."""
        return self.seg_layers[0](level)

"""Activation checkpointing: a module's activations are computed again in the backward pass instead of being kept."""

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Checkpointing(nn.Module):
    """Base of modules that can run their parts checkpointed; :func:`set_checkpointing` switches them on.

    Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost". Outputs and gradients stay the same, dropout and
    drop-path included.
    """

    checkpointing = False

    def run(self, part: nn.Module, *args: Any) -> Any:
        """``part(*args)``."""
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(part, *args, use_reentrant=False)
        return part(*args)


def set_checkpointing(network: nn.Module) -> None:
    """Let all :class:`Checkpointing` modules of a network save memory at the cost of time."""
    for module in network.modules():
        if isinstance(module, Checkpointing):
            module.checkpointing = True

"""Published checkpoints and constructor arguments, translated to this package's networks."""

from nnunet_reca.weights.rename import Rule, load_renamed, rename

__all__ = ["Rule", "load_renamed", "rename"]

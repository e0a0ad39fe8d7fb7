"""Checkpoints of this package's own trainings as a source, for data sets of other channels, labels and plans."""

import re
from typing import Any

import torch
from torch import nn

from nnunet_reca import architectures
from nnunet_reca.weights.layout import Layout
from nnunet_reca.weights.rename import Rule, fillable


def trained_network(content: Any) -> nn.Module | None:
    """The network whose weights an nnU-Net checkpoint holds, without them; None if it is not one of this package.

    The checkpoint's own plan tells class and arguments; nothing else is imported or built.

    Raises:
        ValueError: if the network does not take the arguments.
    """
    try:
        arguments = dict(content)["init_args"]
        architecture = arguments["plans"]["configurations"][arguments["configuration"]]["architecture"]
        package, _, name = architecture["network_class_name"].rpartition(".")
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    if not package.startswith(architectures.__name__) or name not in architectures.__all__:
        return None
    try:
        with torch.device("meta"):
            return getattr(architectures, name)(1, 1, **architecture["arch_kwargs"])
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"expected a checkpoint of this version's {name}, got one with other arguments: {error}; use the version "
            "of nnunet_reca that trained it"
        ) from error


def trained_layout(trained: nn.Module) -> Layout:
    """Our own names."""
    return Layout(
        f"{type(trained).__name__} of nnunet_reca",
        type(trained),
        (re.escape(next(iter(fillable(trained)))),),
        lambda source, network: [Rule(r".*\.(?:all_modules\..*|num_batches_tracked)", None), Rule("(.*)", "{0}")],
    )

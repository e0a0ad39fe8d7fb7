"""Checkpoints of this package's own trainings as a source, for data sets of other channels, labels and plans."""

import re
from typing import Any

import torch
from torch import nn

from nnunet_reca import architectures
from nnunet_reca.weights.convert import beyond_depth
from nnunet_reca.weights.layout import Layout
from nnunet_reca.weights.rename import Rule, fillable

#: parameters whose width depends on the depth of the network, by network
_DEPTH_DEPENDENT = {
    "SwinUNETR": r"decoder\.(bottleneck|skips)\..*",
    "SwinUnet": r"encoder\.norm\..*",
    "DATransUnet": r"encoder\.patch_embed\..*|decoder\.blocks\.\d+\.(refine\.0|skip_attention)\..*",
}


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


def trained_layout(trained: nn.Module, network: nn.Module) -> Layout:
    """Our own names. What only a deeper network has stays at its initialisation; heads are trained anew."""
    kind = type(trained).__name__
    deeper = [re.escape(name) for name in fillable(network) if beyond_depth(name, trained)]
    return Layout(
        f"{kind} of nnunet_reca",
        kind,
        (re.escape(next(iter(fillable(trained)))),),
        lambda source, network: [Rule(r".*\.num_batches_tracked", None), Rule("(.*)", "{0}")],
        absent="|".join(deeper) or r"$^",
        depth_dependent=_DEPTH_DEPENDENT.get(kind, r"$^"),
        deeper=bool(deeper),
    )

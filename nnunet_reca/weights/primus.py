"""Primus of dynamic_network_architectures, as nnU-Net's Primus trainers and nnssl's self-supervised ones save it."""

import re
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nnunet_reca.architectures import Primus
from nnunet_reca.architectures.primus import STEMS
from nnunet_reca.weights.layout import Layout
from nnunet_reca.weights.rename import Rule

#: voxels of a published token, per axis
TOKEN = 8


def primus_rules() -> list[Rule]:
    """Rename table, published layout -> :class:`nnunet_reca.architectures.Primus`, all versions and sizes.

    The decoder is the segmentation head here; what self-supervised trainings have behind the encoder is dropped.
    """
    return [
        # convolutions and norms of the stem stand in a state dict twice
        Rule(r"mask_token|eva\.rope\..+|.*\.all_modules\..+", None),
        Rule(r"(?:decoder|decoder_pos_embed|projector|predictor)(?:\..+)?", None),
        Rule(r"down_projection\.(.+)", "encoder.patch_embed.{0}"),
        Rule(r"eva\.pos_embed", "encoder.position_embedding"),
        Rule(r"eva\.((?:blocks|norm)\..+)", "encoder.transformer.{0}"),
        Rule(r"up_projection\.decode\.(.+)", "decoder.seg_layers.0.{0}"),
    ]


def published_geometry(content: Any) -> Primus | None:
    """A network of the geometry that a published Primus was trained with, without its weights; None if it is no Primus.

    nnU-Net's checkpoints tell it by their plan, nnssl's by their adaptation plan. Without either, None is taken for
    patches of equal sides.

    Args:
        content: of the checkpoint.
    """
    patch = _patch_size(content)
    tensors = content.get("network_weights") if isinstance(content, Mapping) else None
    if patch is None or not isinstance(tensors, Mapping):
        return None
    position = next((t for n, t in tensors.items() if n.endswith("eva.pos_embed")), None)
    if position is None or any(side % TOKEN for side in patch):
        return None
    strides = [[1] * len(patch)] + [[2] * len(patch)] * 3
    grid = [side // TOKEN for side in patch]
    depth = max(1, len(_layers(tensors)))
    with torch.device("meta"):
        return Primus(1, 2, strides=strides, grid_size=grid, version=1, embed_dim=position.shape[-1], depth=depth)


def _patch_size(content: Any) -> list[int] | None:
    """Patch size of the training, where the checkpoint names it."""
    try:
        if "nnssl_adaptation_plan" in content:
            configurations = content["nnssl_adaptation_plan"]["pretrain_plan"]["configurations"]
            return [int(side) for side in next(iter(configurations.values()))["patch_size"]]
        arguments = content["init_args"]
        configurations = arguments["plans"]["configurations"]
        chosen = configurations[arguments["configuration"]]
        while "patch_size" not in chosen:
            chosen = configurations[chosen["inherits_from"]]
        return [int(side) for side in chosen["patch_size"]]
    except (KeyError, TypeError, ValueError, StopIteration):
        return None


def _rules(source: Mapping[str, Tensor], network: nn.Module) -> list[Rule]:
    """The rename table, once version and size fit.

    Raises:
        ValueError: if they do not.
    """
    encoder: Any = network.encoder
    version = next(number for number, stem in STEMS.items() if type(encoder.patch_embed) is stem)
    ours = (version, encoder.position_embedding.shape[-1], len(encoder.transformer.blocks))
    theirs = (_version(source), source["eva.blocks.0.norm1.weight"].shape[0], len(_layers(source)))
    if ours != theirs:
        raise ValueError(
            f"expected weights of Primus {_described(ours)}, got {_described(theirs)}; take the trainer of that "
            "version and size"
        )
    return primus_rules()


def _layers(names: Collection[str]) -> set[int]:
    """Numbers of the transformer's layers; names may have a prefix."""
    return {int(m[1]) for name in names if (m := re.search(r"(?:^|\.)eva\.blocks\.(\d+)\.", name))}


def _version(names: Collection[str]) -> int:
    if any(name.startswith("down_projection.proj_to_tokens.") for name in names):
        return 3
    return 2 if any(name.startswith("down_projection.stem.") for name in names) else 1


def _described(network: tuple[int, int, int]) -> str:
    return "version {} with {} channels and {} layers".format(*network)


LAYOUTS = (Layout("Primus (nnU-Net, nnssl)", Primus, (r"eva\.blocks\.0\.attn\.q_proj\.weight",), _rules),)

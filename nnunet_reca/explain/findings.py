"""What is asked of the report, and what is found out before anything is written."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nnunet_reca.explain.attention import View
from nnunet_reca.explain.grid import Index, Patch
from nnunet_reca.explain.logits import Spread
from nnunet_reca.explain.overlap import Cut

Heads = Literal["mean", "max"]
Cuts = Literal["all", "carry"]


@dataclass(frozen=True)
class Question:
    """What to explain, and how; see ``nnUNetv2_reca_explain --help``.

    Attributes:
        image: channel files, a prefix or a folder, see :func:`nnunet_reca.explain.case.image_files`.
        model: folder of the trained model.
        output: folder to write.
        fold: number or ``all``, default the first.
        checkpoint: file name.
        voxel: index in the file's array, Z Y X, or Y X in 2D images; default the centre of the largest object.
        label: name or number of the object to look at, where no voxel is given.
        reference: reference segmentation.
        previous_stage: prediction of a cascade's previous stage.
        heads: average or maximum over the heads, in the figures and maps.
        channel: of the image, in the figures.
        cuts: ``all``, or those of the carry alone, which takes less time.
        device: where to predict, default CUDA if there is any.
        mirroring: predict mirrored images as well.
        step_size: of the sliding window, in patches.
        overwrite: replace an earlier report in ``output``.
    """

    image: Sequence[str | Path]
    model: Path
    output: Path
    fold: str | None = None
    checkpoint: str = "checkpoint_final.pth"
    voxel: Sequence[int] | None = None
    label: str | None = None
    reference: Path | None = None
    previous_stage: Path | None = None
    heads: Heads = "mean"
    channel: int = 0
    cuts: Cuts = "all"
    device: str | None = None
    mirroring: bool = True
    step_size: float = 0.5
    overwrite: bool = False


@dataclass(frozen=True)
class Findings:
    """All that is found out about a case before anything is written.

    Attributes:
        voxel: the chosen voxel, in the image's array as read.
        patch: the network's input around it.
        views: attention, layer by layer.
        full: prediction, (Z, Y, X).
        without: prediction with every carry cut, None in a self-attention twin.
        cuts: of the carry and of the attention, one per chain and, of several, one of all; of all blocks.
        spreads: logits and entropy of every layer.
        facts: case, model, voxel and the like, for the tables.
    """

    voxel: Index
    patch: Patch
    views: Sequence[View]
    full: np.ndarray
    without: np.ndarray | None
    cuts: Sequence[Cut]
    spreads: Sequence[Spread]
    facts: dict[str, Any]

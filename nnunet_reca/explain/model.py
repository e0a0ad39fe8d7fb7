"""A trained model's folder, loaded as nnU-Net's prediction does."""

import contextlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from torch import nn

from nnunet_reca._discovery import register
from nnunet_reca.explain.chains import Chain, carry_chains
from nnunet_reca.results.labels import read_labels, values_of


@dataclass(frozen=True)
class TrainedModel:
    """A network of this package with its weights.

    Attributes:
        fold: the fold in use, a number or ``all``.
        predictor: nnU-Net's predictor of this fold.
        chains: the carry chains of its network.
    """

    fold: str
    predictor: nnUNetPredictor
    chains: Sequence[Chain]

    @property
    def network(self) -> nn.Module:
        return self.predictor.network

    @property
    def recurrent(self) -> bool:
        """Whether the network carries a query; its self-attention twin does not."""
        return any(chain.carries for chain in self.chains)

    @cached_property
    def reader(self) -> Any:
        """nnU-Net's reader and writer of the data set."""
        return self.predictor.plans_manager.image_reader_writer_class()

    @property
    def regions(self) -> dict[str, tuple[int, ...]]:
        """Labels that make up each object that the model predicts, by the data set's names."""
        labels = read_labels(self.predictor.label_manager)
        return {name: values_of(region) for name, region in labels.regions.items()}


def load_model(
    folder: Path,
    *,
    fold: str | None = None,
    checkpoint: str = "checkpoint_final.pth",
    device: torch.device,
    mirroring: bool = True,
    step_size: float = 0.5,
) -> TrainedModel:
    """Load a fold of a trained model.

    Args:
        folder: nnU-Net's results folder of the model.
        fold: number or ``all``; default the first that has the checkpoint.
        checkpoint: file name.
        device: where to predict.
        mirroring: predict mirrored images as well, as the training allows.
        step_size: of nnU-Net's sliding window, in patches.

    Raises:
        ValueError: if files are missing, or the network is not of this package.
    """
    for name in ("plans.json", "dataset.json"):
        if not (folder / name).is_file():
            raise ValueError(
                f"expected {folder} to be the folder of a trained model, it has no {name}; "
                "give nnUNet_results/DATASET/TRAINER__PLANS__CONFIGURATION"
            )
    if not 0 < step_size <= 1:
        raise ValueError(f"expected a step size above 0 and up to 1, in patches, got {step_size}; nnU-Net's is 0.5")
    fold = _fold(folder, fold, checkpoint)
    register()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # nnU-Net's constructor talks about the device
            predictor = nnUNetPredictor(
                tile_step_size=step_size, use_mirroring=mirroring, device=device, allow_tqdm=False
            )
            predictor.initialize_from_trained_model_folder(str(folder), (fold,), checkpoint)
    except Exception as error:  # whatever a foreign or broken checkpoint raises
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{folder / f'fold_{fold}' / checkpoint} cannot be loaded: {reason}") from error
    predictor.network = getattr(predictor.network, "_orig_mod", predictor.network)  # hooks need it uncompiled
    predictor.network.to(device).eval()
    return TrainedModel(fold, predictor, carry_chains(predictor.network))


def _fold(folder: Path, fold: str | None, checkpoint: str) -> str:
    """The wanted fold, or the first."""
    names = (file.parent.name.removeprefix("fold_") for file in folder.glob(f"fold_*/{checkpoint}"))
    folds = (name for name in names if re.fullmatch(r"\d+|all", name))
    found = sorted(folds, key=lambda name: (name == "all", 0 if name == "all" else int(name)))
    if not found or (fold is not None and fold not in found):
        wanted = "a fold" if fold is None else f"fold {fold}"
        raise ValueError(
            f"expected {folder} to have {wanted} with {checkpoint}, got folds {found}; "
            "choose another with -f or -chk (checkpoint_best.pth exists during training)"
        )
    return found[0] if fold is None else fold

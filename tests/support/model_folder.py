"""A trained model's folder without a training: random weights, saved as nnU-Net saves them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from nnunet_reca import trainers
from support.plan_factory import DATASET_JSON, make_plans

#: what nnU-Net's planner writes beside a configuration's geometry, for prediction
RESAMPLING = {f"resampling_fn_{of}": "resample_data_or_seg_to_shape" for of in ("data", "seg", "probabilities")} | {
    f"resampling_fn_{of}_kwargs": {"is_seg": of == "seg", "order": 1, "order_z": 0, "force_separate_z": None}
    for of in ("data", "seg", "probabilities")
}


def make_model_folder(
    folder: Path,
    trainer: str,
    configuration: dict[str, Any],
    dataset: dict[str, Any] = DATASET_JSON,
    *,
    reader: str = "SimpleITKIO",
    transpose: tuple[int, ...] = (0, 1, 2),
    folds: tuple[int | str, ...] = (0,),
) -> Path:
    """A model named ``trainer`` whose every weight, biases too, is random.

    Args:
        folder: where to put it.
        trainer: name of a trainer of this package.
        configuration: of an nnU-Net plan.
        dataset: content of dataset.json.
        reader: nnU-Net's reader of images.
        transpose: the plan's ``transpose_forward``.
        folds: to save.
    """
    cls = getattr(trainers, trainer)
    channels = len(dataset["channel_names"])
    normalization = {
        "normalization_schemes": ["ZScoreNormalization"] * channels,
        "use_mask_for_norm": [False] * channels,
    }
    plans = make_plans(x=configuration | RESAMPLING | normalization) | {
        "image_reader_writer": reader,
        "transpose_forward": list(transpose),
        "transpose_backward": np.argsort(transpose).tolist(),
        "foreground_intensity_properties_per_channel": {str(c): {} for c in range(channels)},
    }
    rewritten = cls.rewritten(plans, "x")
    torch.manual_seed(0)
    network = cls.new_network(plans, "x", dataset)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.08)
    model = folder / f"{trainer}__nnUNetPlans__x"
    for fold in folds:
        (model / f"fold_{fold}").mkdir(parents=True)
        content = {
            "network_weights": network.state_dict(),
            "trainer_name": trainer,
            "init_args": {"plans": rewritten, "configuration": "x", "fold": fold, "dataset_json": dataset},
            "inference_allowed_mirroring_axes": tuple(range(len(configuration["patch_size"]))),
        }
        torch.save(content, model / f"fold_{fold}" / "checkpoint_final.pth")
    (model / "plans.json").write_text(json.dumps(rewritten))
    (model / "dataset.json").write_text(json.dumps(dataset))
    return model


#: axes X and Y against the patient's
TURNED = (-1.0, 0, 0, 0, -1, 0, 0, 0, 1)


def write_image(file: Path, array: np.ndarray, direction: Sequence[float] = TURNED) -> Path:
    """Array (Z, Y, X) with a spacing, an origin and a direction."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((1.25, 0.75, 2.0))
    image.SetOrigin((-7.0, 3.0, 11.0))
    image.SetDirection(direction)
    sitk.WriteImage(image, str(file))
    return file

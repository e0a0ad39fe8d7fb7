"""The whole report of a case: attention maps, cuts, figures and tables in one folder."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from nnunet_reca.explain.attention import Attention, View, look
from nnunet_reca.explain.case import (
    Case,
    centre_of_largest_object,
    image_files,
    predict,
    read_case,
    read_segmentation,
)
from nnunet_reca.explain.chains import Chain, cut
from nnunet_reca.explain.grid import Index, Patch, to_image
from nnunet_reca.explain.model import TrainedModel, load_model
from nnunet_reca.explain.nifti import write_nifti
from nnunet_reca.explain.overlap import Cut, compare_cut
from nnunet_reca.explain.planes import planes_of
from nnunet_reca.explain.report import view_row, write_tables

Heads = Literal["mean", "max"]
#: what an earlier report leaves in its folder
FILES = (
    "attention_*.nii.gz",
    "attention_*.png",
    "prediction.nii.gz",
    "cuts.csv",
    "cuts.png",
    "explain.json",
    "explain.md",
)


@dataclass(frozen=True)
class Request:
    """What to explain, and how; see ``nnUNetv2_reca_explain --help``.

    Attributes:
        image: channel files, a prefix or a folder, see :func:`nnunet_reca.explain.case.image_files`.
        model: folder of the trained model.
        output: folder to write.
        fold: number or ``all``, default the first.
        checkpoint: file name.
        voxel: index in the image's array, Z Y X, or Y X in 2D images; default the centre of the largest object.
        label: name or number of the object to look at, where no voxel is given.
        reference: reference segmentation.
        previous_stage: prediction of a cascade's previous stage.
        heads: average or maximum over the heads, in the figures and maps.
        channel: of the image, in the figures.
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
    device: str | None = None
    mirroring: bool = True
    step_size: float = 0.5
    overwrite: bool = False


@dataclass(frozen=True)
class Findings:
    """All that is found out about a case before anything is written.

    Attributes:
        voxel: the chosen voxel, in the image's array.
        patch: the network's input around it.
        views: attention, layer by layer.
        full: prediction, (Z, Y, X).
        without: prediction with every carry cut, None in a self-attention twin.
        cuts: one per chain and, of several, one of all.
        facts: case, model, voxel and the like, for the tables.
    """

    voxel: Index
    patch: Patch
    views: Sequence[View]
    full: np.ndarray
    without: np.ndarray | None
    cuts: Sequence[Cut]
    facts: dict[str, Any]


def explain(request: Request, say: Callable[[str], None] = lambda line: None) -> Findings:
    """Write the report of a case.

    Args:
        request: what to explain.
        say: takes a line about what is being done.

    Raises:
        ValueError: if anything does not fit; nothing is written then.
    """
    from nnunet_reca.explain import pictures

    _check_output(request)
    model = load_model(
        request.model,
        fold=request.fold,
        checkpoint=request.checkpoint,
        device=_device(request.device),
        mirroring=request.mirroring,
        step_size=request.step_size,
    )
    files = image_files(request.image, model.predictor.dataset_json["file_ending"])
    case = read_case(model, files, request.previous_stage)
    if not 0 <= request.channel < len(case.image):
        raise ValueError(f"expected a channel from 0 to {len(case.image) - 1}, got {request.channel}")
    findings = _find_out(request, model, case, say)
    request.output.mkdir(parents=True, exist_ok=True)
    for old in (file for pattern in FILES for file in request.output.glob(pattern)):
        old.unlink()
    say(f"writing {request.output}")
    maps = _write_maps(request, case, findings)
    rows = [view_row(view, _token_size(case, findings.patch, view)) for view in findings.views]
    write_tables(request.output, findings.facts, rows, findings.cuts)
    planes = planes_of(case.properties, _shown_axes(case, findings.patch))
    pictures.draw(request, model, case, findings, maps, planes)
    return findings


def _find_out(request: Request, model: TrainedModel, case: Case, say: Callable[[str], None]) -> Findings:
    shape = case.image.shape[1:]
    wanted = _labels(model, request.label)
    reference = None if request.reference is None else read_segmentation(model, request.reference, shape)
    voxel = None if request.voxel is None else _three(request.voxel, shape)
    if voxel is not None:
        case.grid.to_preprocessed(voxel)  # a voxel outside is told before the prediction
    say("predicting with the whole model")
    full = predict(model, case)
    if voxel is None:
        voxel, _ = centre_of_largest_object(full, wanted)
    place = case.grid.to_preprocessed(voxel)
    patch = Patch.around(place, case.data.shape[1:], model.predictor.configuration_manager.patch_size)
    inside = torch.from_numpy(patch.cut(case.data))[None].to(model.predictor.device, torch.float32)
    say(f"looking from voxel {voxel}")
    views = look(model.network, model.chains, inside, patch.index(place))
    cuts, without = [], None
    for name, chains in _cuts(model):
        say(f"predicting with the carry cut: {name}")
        with cut(chains):
            without = predict(model, case)
        ignored = model.predictor.label_manager.ignore_label
        cuts.append(compare_cut(name, without, full, reference, model.regions, ignored))
    facts = {
        "case": case.name,
        "model": request.model.resolve().name,
        "fold": model.fold,
        "checkpoint": request.checkpoint,
        "voxel": list(voxel),
        "predicted_label": int(full[voxel]),
        "attention_maps": f"{request.heads} over the heads",
        "recurrent": model.recurrent,
    }
    return Findings(voxel, patch, views, full, without, cuts, facts)


def _cuts(model: TrainedModel) -> Iterator[tuple[str, Sequence[Chain]]]:
    """Each chain alone, then all of them; nothing in a self-attention twin."""
    if not model.recurrent:
        return
    for chain in model.chains:
        yield chain.name, [chain]
    if len(model.chains) > 1:
        yield "all", model.chains


def _write_maps(request: Request, case: Case, findings: Findings) -> list[dict[str, np.ndarray]]:
    """Write the attention maps and the prediction; returns the maps of each view on the image."""
    found = []
    for view in findings.views:
        stem = f"attention_{view.chain.name.replace(' ', '_')}_layer_{view.layer + 1}"
        maps = {}
        for name, attention in (("carry_on", view.carried), ("carry_off", view.alone)):
            if attention is not None:
                maps[name] = to_image(over_heads(attention, request.heads).numpy(), case.grid, findings.patch)
                write_nifti(maps[name], request.output / f"{stem}_{name}.nii.gz", case.properties)
        token = torch.zeros_like(view.alone.visible)
        token[view.token] = True
        for name, where in (("visible", view.alone.visible), ("token", token)):
            maps[name] = to_image(where.numpy().astype(np.float32), case.grid, findings.patch) > 0
        found.append(maps)
    write_nifti(findings.full, request.output / "prediction.nii.gz", case.properties)
    return found


def over_heads(attention: Attention, heads: Heads) -> torch.Tensor:
    """Attention weights of all heads as one map: their average, or the largest of them."""
    return attention.mean if heads == "mean" else attention.weights.amax(0)


def _token_size(case: Case, patch: Patch, view: View) -> list[float]:
    """Size of a token in mm, along the axes of its map."""
    first = len(case.grid.transpose) - len(patch.shape)
    sizes = []
    for axis, (side, tokens) in enumerate(zip(patch.shape, view.alone.visible.shape, strict=True), first):
        low, high = case.grid.crop[axis]
        voxel = case.spacing[case.grid.transpose[axis]] * (high - low) / case.grid.resampled[axis]
        sizes.append(voxel * side / tokens)
    return sizes


def _shown_axes(case: Case, patch: Patch) -> list[int]:
    """Axes of the image across which it is shown: that of the slices first, and in 3D all."""
    first = case.grid.transpose[0]
    return [first] if patch.plane is not None else [first, *(a for a in range(3) if a != first)]


def _labels(model: TrainedModel, label: str | None) -> list[int]:
    """Labels of the wanted object, or of all."""
    if label is None:
        return sorted({value for labels in model.regions.values() for value in labels})
    if label in model.regions:
        return list(model.regions[label])
    if label.isdecimal() and any(int(label) in labels for labels in model.regions.values()):
        return [int(label)]
    raise ValueError(f"expected a label of {list(model.regions)} or its number, got {label!r}")


def _three(voxel: Sequence[int], shape: Sequence[int]) -> Index:
    """Voxel of a three-axis array; 2D images have one slice."""
    return (0, *voxel) if len(voxel) == 2 and shape[0] == 1 else tuple(voxel)


def _device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"expected a device that works here, got {name!r}: {reason}; take cpu") from error
    return device


def _check_output(request: Request) -> None:
    output = request.output
    with contextlib.suppress(FileNotFoundError):
        if not output.is_dir() and output.exists():
            raise ValueError(f"expected {output} to be a folder, it is a file; choose another")
        if any(output.iterdir()) and not request.overwrite:
            raise ValueError(f"expected an empty folder, got {output}; say --overwrite or choose another")

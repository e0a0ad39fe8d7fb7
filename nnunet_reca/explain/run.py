"""The whole report of a case: attention maps, cuts, figures and tables in one folder."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

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
from nnunet_reca.explain.chains import CUTS, Chain
from nnunet_reca.explain.figures import Column
from nnunet_reca.explain.findings import Cuts, Findings, Heads, Question
from nnunet_reca.explain.grid import Index, Patch, to_image
from nnunet_reca.explain.logits import measure
from nnunet_reca.explain.model import TrainedModel, load_model
from nnunet_reca.explain.nifti import write_nifti
from nnunet_reca.explain.overlap import compare_cut
from nnunet_reca.explain.pictures import draw, make_column
from nnunet_reca.explain.planes import Plane, planes_of
from nnunet_reca.explain.tables import FOLDER, view_row, write_tables


def explain(question: Question, say: Callable[[str], None] = lambda line: None) -> Findings:
    """Write the report of a case.

    Args:
        question: what to explain.
        say: takes a line about what is being done.

    Raises:
        ValueError: if anything does not fit; nothing is written then.
    """
    output = FOLDER.usable(question.output, overwrite=question.overwrite)
    model = load_model(
        question.model,
        fold=question.fold,
        checkpoint=question.checkpoint,
        device=_device(question.device),
        mirroring=question.mirroring,
        step_size=question.step_size,
    )
    files = image_files(question.image, model.predictor.dataset_json["file_ending"])
    case = read_case(model, files, question.previous_stage)
    if not 0 <= question.channel < len(case.image):
        raise ValueError(f"expected a channel from 0 to {len(case.image) - 1}, got {question.channel}")
    findings = _find_out(question, model, case, say)
    planes = planes_of(case.properties, _shown_axes(case, findings.patch))
    with FOLDER.written(output, overwrite=question.overwrite) as folder:
        say(f"writing {question.output}")
        columns = _write_maps(folder, question.heads, case, findings, planes)
        draw(folder, question, model, case, findings, columns)
        rows = [view_row(view, _token_size(case, findings.patch, view)) for view in findings.views]
        write_tables(folder, findings.facts, rows, findings.cuts, findings.spreads)
    return findings


def _find_out(question: Question, model: TrainedModel, case: Case, say: Callable[[str], None]) -> Findings:
    shape = case.image.shape[1:]
    wanted = _labels(model, question.label)
    reference = None if question.reference is None else read_segmentation(model, question.reference, shape)
    voxel = None if question.voxel is None else case.grid.to_array(_three(question.voxel, shape))
    if voxel is not None:
        case.grid.to_preprocessed(voxel)  # a voxel that is cropped is told before the prediction
    say("predicting with the whole model")
    full = predict(model, case)
    if voxel is None:
        voxel = centre_of_largest_object(full, wanted)
    place = case.grid.to_preprocessed(voxel)
    patch = Patch.around(place, case.data.shape[1:], model.predictor.configuration_manager.patch_size)
    inside = torch.from_numpy(patch.crop(case.data))[None].to(model.predictor.device, torch.float32)
    facts = _facts(question, model, case, voxel) | {"predicted_label": int(full[voxel])}
    say(f"looking from voxel {facts['voxel']}")
    views = look(model.network, model.chains, inside, patch.index(place))
    spreads = measure(model.network, model.chains, inside)
    cuts, without = [], None
    for part, name, chains in _cuts(model, question.cuts):
        say(f"predicting with the {part} cut: {name}")
        with CUTS[part](chains):
            labels = predict(model, case)
        without = labels if part == "carry" else without
        ignored = model.predictor.label_manager.ignore_label
        cuts.append(compare_cut(part, name, labels, full, reference, model.regions, ignored))
    return Findings(voxel, patch, views, full, without, cuts, spreads, facts)


def _facts(question: Question, model: TrainedModel, case: Case, voxel: Index) -> dict[str, Any]:
    """What the tables say about the report as a whole."""
    return {
        "case": case.name,
        "model": question.model.resolve().name,
        "fold": model.fold,
        "checkpoint": question.checkpoint,
        "recurrent": model.recurrent,
        "attention_maps": f"{question.heads} over the heads",
        "unit": case.unit,
        "voxel": list(case.grid.turn.file_voxel(voxel, case.grid.shape)),
    }


def _cuts(model: TrainedModel, wanted: Cuts) -> Iterator[tuple[str, str, Sequence[Chain]]]:
    """What is cut and where: each chain alone, then all of them; a self-attention twin has no carry to cut."""
    places = [(chain.name, [chain]) for chain in model.chains]
    if len(model.chains) > 1:
        places.append(("all", list(model.chains)))
    if model.recurrent:
        yield from (("carry", *place) for place in places)
    if wanted == "all":
        yield from (("attention", *place) for place in places)
        yield ("blocks", *places[-1])


def _write_maps(
    folder: Path, heads: Heads, case: Case, findings: Findings, planes: Sequence[Plane]
) -> dict[Plane, list[Column]]:
    """Write the attention maps and the prediction; returns the maps of each layer in the planes through the voxel."""
    columns: dict[Plane, list[Column]] = {plane: [] for plane in planes}
    for view in findings.views:
        stem = f"attention_{view.chain.name.replace(' ', '_')}_layer_{view.layer + 1}"
        token = torch.zeros_like(view.alone.visible)
        token[view.token] = True
        maps = {f"{stem}_{name}.nii.gz": over_heads(attention, heads) for name, attention in view.parts.items()}
        slices = [_slices(weights, case, findings, planes, folder / name) for name, weights in maps.items()]
        carried, alone = [[None] * len(planes), *slices][-2:]
        others = [_slices(where.float(), case, findings, planes) for where in (view.alone.visible, token)]
        for plane, *parts in zip(planes, carried, alone, *others, strict=True):
            columns[plane].append(make_column(view, *parts))
    write_nifti(findings.full, folder / "prediction.nii.gz", case.properties)
    return columns


def _slices(
    token_map: torch.Tensor, case: Case, findings: Findings, planes: Sequence[Plane], file: Path | None = None
) -> list[Any]:
    """A token map in each plane through the voxel; the whole image is written to a file and not kept."""
    on_image = to_image(token_map.numpy(), case.grid, findings.patch)
    if file is not None:
        write_nifti(on_image, file, case.properties)
    return [plane.take(on_image, findings.voxel[plane.axis]).copy() for plane in planes]


def over_heads(attention: Attention, heads: Heads) -> torch.Tensor:
    """Attention weights of all heads as one map: their average, or the largest of them."""
    return attention.mean if heads == "mean" else attention.weights.amax(0)


def _token_size(case: Case, patch: Patch, view: View) -> list[float]:
    """Size of a token along the axes of its map, in mm or px."""
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


def _labels(model: TrainedModel, label: str | None) -> list[tuple[int, ...]]:
    """Labels that make up the wanted object, or each object."""
    if label is None:
        return list(model.regions.values())
    if label in model.regions:
        return [model.regions[label]]
    if label.isdecimal() and any(int(label) in labels for labels in model.regions.values()):
        return [(int(label),)]
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

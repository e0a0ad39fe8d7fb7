"""From findings to figures: titles, grey images and attention in multiples of uniform attention."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nnunet_reca.explain.attention import View
from nnunet_reca.explain.case import Case
from nnunet_reca.explain.figures import Column, Scene, draw_attention, draw_cuts
from nnunet_reca.explain.findings import Findings, Question
from nnunet_reca.explain.grid import to_image
from nnunet_reca.explain.model import TrainedModel
from nnunet_reca.explain.planes import Plane


def draw(
    folder: Path,
    question: Question,
    model: TrainedModel,
    case: Case,
    findings: Findings,
    columns: Mapping[Plane, Sequence[Column]],
) -> None:
    """Draw a figure per plane, and one of the cuts if there are any."""
    facts = findings.facts
    source = f"{facts['model']}, fold {facts['fold']}"
    voxel = ", ".join(map(str, facts["voxel"]))
    title = f"{case.name}, attention of voxel ({voxel}), {question.heads} over the heads\n{source}"
    for plane, layers in columns.items():
        scene = make_scene(title, plane, question.channel, model, case, findings)
        draw_attention(folder / f"attention_{plane.name}.png", scene, layers)
    if findings.cuts:
        draw_cuts(folder / "cuts.png", f"{case.name}\n{source}", findings.cuts)


def make_scene(title: str, plane: Plane, channel: int, model: TrainedModel, case: Case, findings: Findings) -> Scene:
    """Image and predictions in a plane through the voxel."""
    voxel, full, without = findings.voxel, findings.full, findings.without

    def cut(volume: np.ndarray) -> np.ndarray:
        return plane.take(volume, voxel[plane.axis])

    patch = to_image(np.ones(findings.views[0].alone.visible.shape, np.float32), case.grid, findings.patch)
    channels = [cut(volume) for volume in (case.image[:3] if case.colour else case.image[channel : channel + 1])]
    grey = _grey(np.mean(channels, axis=0), case, channel)
    return Scene(
        title,
        plane,
        findings.facts["unit"],
        grey,
        np.stack(channels, -1) / max(1.0, float(case.image.max())) if case.colour else grey,
        plane.point(voxel, full.shape),
        cut(patch) > 0,
        object_numbers(cut(full), model),
        None if without is None else object_numbers(cut(without), model),
        0 if without is None else int((full != without).sum()),
        list(model.regions),
    )


def make_column(
    view: View, carried: np.ndarray | None, alone: np.ndarray, visible: np.ndarray, token: np.ndarray
) -> Column:
    """A layer's attention in a plane, 1 being uniform attention over all that it may attend to, padding included."""
    heads = len(view.alone.weights)
    title = f"{view.chain.name}\nlayer {view.layer + 1} of {view.chain.depth}, {heads} head{'s' if heads > 1 else ''}\n"
    if view.window is None:
        title += f"all {view.alone.visible.numel()} tokens"
    else:
        window, shift = ("×".join(map(str, sides)) for sides in view.window)
        title += f"window {window}" + (f", shift {shift}" if any(view.window[1]) else "")
    keys = view.alone.keys
    return Column(title, None if carried is None else carried * keys, alone * keys, visible > 0, token > 0)


def object_numbers(labels: np.ndarray, model: TrainedModel) -> np.ndarray:
    """1 + number of the object of each voxel; of nested regions the last, which is the innermost."""
    numbers = np.zeros(labels.shape, int)
    for number, values in enumerate(model.regions.values(), 1):
        numbers[np.isin(labels, values)] = number
    return numbers


def _grey(flat: np.ndarray, case: Case, channel: int) -> np.ndarray:
    """A slice on 0 to 1, which are the first and the 99th percentile of the whole image."""
    image = case.image[:3] if case.colour else case.image[channel]
    low, high = np.percentile(image.ravel()[:: 1 + image.size // 1_000_000], (1, 99))
    return np.clip((flat - low) / max(high - low, 1e-6), 0, 1)

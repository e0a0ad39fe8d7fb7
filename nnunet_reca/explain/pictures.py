"""From findings to figures: titles, grey images and attention in multiples of uniform attention."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nnunet_reca.explain.attention import View
from nnunet_reca.explain.case import Case
from nnunet_reca.explain.figures import Column, Scene, draw_attention, draw_cuts
from nnunet_reca.explain.grid import to_image
from nnunet_reca.explain.model import TrainedModel
from nnunet_reca.explain.planes import Plane

if TYPE_CHECKING:
    from nnunet_reca.explain.run import Findings, Request


def draw(
    request: "Request",
    model: TrainedModel,
    case: Case,
    findings: "Findings",
    maps: Sequence[Mapping[str, np.ndarray]],
    planes: Sequence[Plane],
) -> None:
    """Draw a figure per plane, and one of the cuts if there are any."""
    facts = findings.facts
    source = f"{facts['model']}, fold {facts['fold']}"
    voxel = ", ".join(map(str, findings.voxel))
    objects = list(model.regions)
    patch = np.ones(findings.views[0].alone.visible.shape, np.float32)
    scene = Scene(
        f"{case.name}, attention of voxel ({voxel}), {request.heads} over the heads\n{source}",
        grey_image(case, request.channel),
        colour_image(case, request.channel),
        findings.voxel,
        to_image(patch, case.grid, findings.patch) > 0,
        object_numbers(findings.full, model),
        None if findings.without is None else object_numbers(findings.without, model),
        objects,
    )
    columns = [column(view, on_image) for view, on_image in zip(findings.views, maps, strict=True)]
    for plane in planes:
        draw_attention(request.output / f"attention_{plane.name}.png", scene, columns, plane)
    if findings.cuts:
        draw_cuts(request.output / "cuts.png", f"{case.name}, {source}", findings.cuts)


def column(view: View, on_image: Mapping[str, np.ndarray]) -> Column:
    """A layer's attention, 1 being uniform attention over the tokens that it may attend to."""
    heads = len(view.alone.weights)
    title = f"{view.chain.name}\nlayer {view.layer + 1} of {view.chain.depth}, {heads} head{'s' if heads > 1 else ''}\n"
    if view.window is None:
        title += f"all {view.alone.visible.numel()} tokens"
    else:
        window, shift = ("×".join(map(str, sides)) for sides in view.window)
        title += f"window {window}" + (f", shift {shift}" if any(view.window[1]) else "")
    seen = float(view.alone.visible.sum())
    carried = on_image["carry_on"] * seen if "carry_on" in on_image else None
    return Column(title, carried, on_image["carry_off"] * seen, on_image["visible"], on_image["token"])


def object_numbers(labels: np.ndarray, model: TrainedModel) -> np.ndarray:
    """1 + number of the object of each voxel; of nested regions the last, which is the innermost."""
    numbers = np.zeros(labels.shape, int)
    for number, values in enumerate(model.regions.values(), 1):
        numbers[np.isin(labels, values)] = number
    return numbers


def grey_image(case: Case, channel: int) -> np.ndarray:
    """A channel, or the mean of colours, from the first to the 99th percentile on 0 to 1."""
    image = case.image[:3].mean(0) if _is_colour(case) else case.image[channel]
    low, high = np.percentile(image, (1, 99))
    return np.clip((image - low) / max(high - low, 1e-6), 0, 1)


def colour_image(case: Case, channel: int) -> np.ndarray:
    """(Z, Y, X, 3) of an image with colours, otherwise its grey image."""
    if not _is_colour(case):
        return grey_image(case, channel)
    colours = np.moveaxis(case.image[:3], 0, -1)
    return np.clip(colours / max(float(colours.max()), 1e-6), 0, 1)


def _is_colour(case: Case) -> bool:
    """Whether the channels are those of a colour picture, which has no geometry."""
    geometry = "sitk_stuff" in case.properties or "nibabel_stuff" in case.properties
    return not geometry and case.image.shape[0] in (3, 4) and case.image.shape[1] == 1

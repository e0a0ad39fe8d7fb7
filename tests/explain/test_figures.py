"""Figures keep their panels whatever the data set's labels are: many, or of long names."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from nnunet_reca.explain.figures import Column, Scene, draw_attention, draw_cuts
from nnunet_reca.explain.overlap import Cut
from nnunet_reca.explain.planes import planes_of

SHAPE = (60, 75)
NAME = "structure of the anatomy whose name is as long as anatomists like them to be"


def names(count, letters):
    return [f"{number} {NAME}"[:letters].strip() for number in range(1, count + 1)]


def make_scene(objects, recurrent):
    """All objects in one slice, as tiles."""
    side = int(np.ceil(len(objects) ** 0.5))
    rows, columns = np.indices(SHAPE)
    tiles = 1 + rows * side // SHAPE[0] * side + columns * side // SHAPE[1]
    full = np.where(tiles <= len(objects), tiles, 0)
    (plane,) = planes_of({"spacing": (999, 1, 1)}, [0])
    grey, patch = np.zeros(SHAPE), np.ones(SHAPE, bool)
    without = np.roll(full, 2, 1) if recurrent else None
    model = "nnUNetTrainerSwinUNETRReca_tiny_bf16_checkpoint_1000epochs__nnUNetPlans__3d_fullres"
    return Scene(
        f"case, attention of a voxel\n{model}, fold 0",
        plane,
        "px",
        grey,
        grey,
        (9.5, 9.5),
        patch,
        full,
        without,
        9,
        objects,
    )


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved."""
    figures = []

    def note(figure, file):
        figure.draw_without_rendering()
        figures.append(figure)

    monkeypatch.setattr(Figure, "savefig", note)
    return figures


def check(figure):
    """All that is drawn outside of axes lies in the figure, and nothing lies on the legend."""
    (legend,) = figure.legends
    for artist in (legend, figure._suptitle):
        box = artist.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 and box.y1 <= figure.bbox.y1
    lowest = min(axis.get_tightbbox().y0 for axis in figure.axes if axis.axison)
    assert legend.get_window_extent().y1 <= lowest
    return [axis.get_window_extent().height for axis in figure.axes]


LABELS = {"6_long": (6, 26), "16": (16, 20), "60": (60, 18), "120": (120, 26), "longer_than_a_line": (4, 80)}


@pytest.mark.parametrize("recurrent", [True, False])
@pytest.mark.parametrize("labels", LABELS)
def test_panels_have_their_size_and_names_are_whole_whatever_the_labels(drawn, labels, recurrent):
    visible = np.ones(SHAPE, bool)
    values = np.linspace(0, 2, visible.size).reshape(SHAPE)
    column = Column("stage 1\nlayer 2 of 2, 3 heads\nwindow 7", values if recurrent else None, values, visible, visible)
    few, many = names(2, 8), names(*LABELS[labels])
    for objects in (few, many):
        draw_attention("unused", make_scene(objects, recurrent), [column] * (4 if recurrent else 1))
    before, after = map(check, drawn)
    assert after == pytest.approx(before, rel=0.05)
    (legend,) = drawn[1].legends
    texts = [text.get_text().replace("\n", " ") for text in legend.get_texts()]
    assert texts[: len(many)] == ([f"{n}: {name}" for n, name in enumerate(many, 1)] if len(many) > 7 else many)


def test_objects_beyond_the_colours_have_their_number_on_the_image(drawn):
    column = Column("", None, np.ones(SHAPE), np.ones(SHAPE, bool), np.ones(SHAPE, bool))
    for count in (7, 8):
        draw_attention("unused", make_scene(names(count, 9), False), [column])
    seven, eight = ({t.get_text() for t in figure.axes[0].texts} for figure in drawn)
    assert not seven and eight == {str(number) for number in range(1, 9)}


@pytest.mark.parametrize("labels", LABELS)
def test_bars_of_cuts_have_their_size_whatever_the_labels(drawn, labels):
    for objects in (names(2, 8), names(*LABELS[labels])):
        scores = dict.fromkeys(objects, 0.9)
        draw_cuts("unused", f"case\n{NAME} {NAME} {NAME}", [Cut("carry", "all", scores, scores, scores)])
    before, after = map(check, drawn)
    assert after == pytest.approx(before, rel=0.05)

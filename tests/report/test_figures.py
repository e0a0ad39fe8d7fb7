import numpy as np
import pytest
from matplotlib.figure import Figure
from support.results_factory import epoch_text, make_run_scores, make_scores

from nnunet_reca.report import figures, overlays
from nnunet_reca.report.naming import wrapped
from nnunet_reca.results.logs import TrainingLog

COUNTS = (6, 16, 60, 120)
NAMES = {name: f"a model with a long name {name}" for name in "ABCDEF"}


def label_names(count):
    return [f"left_anterior vertebral body {n}" for n in range(1, count + 1)]


@pytest.fixture
def drawn(monkeypatch):
    """Figures as they are saved."""
    saved = []

    def save(figure, file, **options):
        figure.draw_without_rendering()
        saved.append(figure)

    monkeypatch.setattr(Figure, "savefig", save)
    return saved


def check_layout(figure):
    """The legend is inside the figure and below all axes, no tick label is cut off, and no axis is a dot."""
    edges = figure.bbox
    (below,) = figure.legends
    box = below.get_window_extent()
    assert edges.x0 <= box.x0 and box.x1 <= edges.x1 + 1 and edges.y0 <= box.y0, (box, edges)
    for axis in figure.axes:
        place = axis.get_tightbbox()
        assert place is None or (place.y0 >= box.y1 - 1 and place.x0 >= edges.x0 - 1), (place, box)
        assert axis.get_window_extent().height >= 0.5 * figure.dpi


@pytest.mark.parametrize(("count", "models"), [(6, 2), (16, 5), (120, 2)])
def test_scores_of_many_labels_with_long_names_have_room(tmp_path, drawn, count, models):
    dice = np.random.default_rng(0).random((models, 5, count))
    found = figures.draw_scores(make_scores(dice, labels=label_names(count)), NAMES, tmp_path)
    for figure in drawn:
        check_layout(figure)
    assert len({drawing.file for drawing in found}) == len(found) == len(drawn)
    shown = [text.get_text() for figure in drawn[1:] for text in figure.axes[0].get_yticklabels()]
    assert shown == [wrapped(name, 28) for name in label_names(count)]
    assert all(figure.get_figheight() <= 1.35 * figures.PAGE for figure in drawn[1:]), "longer than a printed page"


def test_every_run_is_a_mark_beside_the_mean_of_its_model(tmp_path, drawn):
    random = np.random.default_rng(0)
    scores = make_run_scores(random.random((3, 5, 2)), random.random((1, 5, 2)), labels=("one", "two"))
    found = figures.draw_scores(scores, NAMES, tmp_path)
    assert [drawing.file.name for drawing in found] == ["runs.png", "paired.png", "labels.png"]
    for figure in drawn:
        check_layout(figure)
    lines = drawn[0].axes[0].lines
    assert [len(line.get_xdata()) for line in lines] == [3, 1, 1, 1]
    dice = scores.run_means()["dice"].xs("mean", level="label") * 100
    assert lines[0].get_xdata().tolist() == pytest.approx(dice["A"].tolist())
    assert lines[1].get_xdata()[0] == pytest.approx(dice["A"].mean())
    small = [line for line in drawn[1].axes[0].lines if line.get_markerfacecolor() == "none"]
    assert [len(line.get_ydata()) for line in small] == [3], "one run has no marks of its own"


def grid_slice(count, aspect=1.0):
    """A slice with a square for every label, the prediction of the second model one voxel to the right."""
    across = int(np.ceil(np.sqrt(count)))
    reference = np.zeros((6 * across, 6 * across), np.uint8)
    for n in range(count):
        top, left = n // across * 6, n % across * 6
        reference[top + 1 : top + 4, left + 1 : left + 4] = n + 1
    moved = np.roll(reference, 1, axis=1)
    return overlays.Slice(None, reference, (reference, moved), aspect, "slice 1 of 3")


@pytest.mark.parametrize(("count", "aspect"), [(6, 1.0), (16, 4.0), (60, 0.3), (120, 1.0)])
def test_overlays_do_not_shrink_however_many_labels_a_slice_has(tmp_path, drawn, count, aspect):
    regions = {name: n for n, name in enumerate(label_names(count), start=1)}
    for chosen in (count, 2):
        few = dict(list(regions.items())[:chosen])
        overlays._draw(
            grid_slice(count, aspect), ["one\nDice 1", "other\nDice 2"], few, ["one", "other"], tmp_path / "a"
        )
    for figure in drawn:
        check_layout(figure)
    sizes = [figure.axes[0].get_window_extent() for figure in drawn]
    assert sizes[0].width == pytest.approx(sizes[1].width, rel=0.1)
    assert sizes[0].height == pytest.approx(sizes[1].height, rel=0.1)


@pytest.mark.parametrize("count", COUNTS)
def test_no_two_labels_of_an_overlay_look_alike_and_the_rest_is_grey(count):
    regions = {name: n for n, name in enumerate(label_names(count), start=1)}
    styles = overlays.region_styles(grid_slice(count), regions)
    own = [style for style in styles.values() if style != overlays.OTHERS]
    assert len(styles) == count and len(set(own)) == len(own) == min(count, 28)


def test_labels_with_most_wrong_voxels_have_styles_of_their_own():
    cut = grid_slice(60)
    worse = cut.predictions[1].copy()
    worse[worse >= 41] = 0
    cut = overlays.Slice(None, cut.reference, (cut.reference, worse), 1.0, "")
    styles = overlays.region_styles(cut, {str(n): n for n in range(1, 61)})
    assert all(styles[str(n)] != overlays.OTHERS for n in range(41, 61))


def test_labels_keep_their_style_from_slice_to_slice_where_there_are_enough_styles():
    regions = {str(n): n for n in range(1, 17)}
    first = overlays.region_styles(grid_slice(16), regions)
    assert overlays.region_styles(grid_slice(7), regions) == {name: first[name] for name in list(regions)[:7]}


def test_a_label_without_any_score_is_drawn_empty(tmp_path, drawn):
    dice = np.random.default_rng(0).random((2, 5, 3))
    dice[:, :, 1] = np.nan
    figures.draw_scores(make_scores(dice), NAMES, tmp_path)
    assert [text.get_text() for text in drawn[1].axes[0].get_yticklabels()] == ["x", "y", "z"]
    figures.draw_scores(make_scores(np.full((2, 3, 1), np.nan)), NAMES, tmp_path)


def test_training_curves_are_the_logs(tmp_path, drawn):
    logs = {}
    for model, loss in (("A", 0.5), ("B", 0.25)):
        logs[model] = [TrainingLog(), TrainingLog()]
        for fold, log in enumerate(logs[model]):
            log.add("".join(epoch_text(n, train=loss + fold - n) for n in range(3)))
    figures.draw_training(logs, NAMES, tmp_path / "training.png")
    lines = [line.get_ydata().tolist() for line in drawn[0].axes[0].lines]
    assert sorted(lines) == sorted(
        [[loss + fold - n for n in range(3)] for loss in (0.5, 0.25) for fold in (0, 0.5, 1)]
    )
    check_layout(drawn[0])
    assert figures.draw_training({"A": [TrainingLog()]}, NAMES, tmp_path / "none.png") is None


def test_names_break_at_their_parts_and_anywhere_where_a_part_is_too_long():
    assert wrapped("left_anterior part", 14) == "left_anterior\npart"
    assert wrapped("a" * 40, 16).split("\n") == ["a" * 16, "a" * 16, "a" * 8]
    assert wrapped("left atrium", 16) == "left atrium"

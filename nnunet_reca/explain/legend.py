"""Legends and titles that fit their figure, however many and however long the names are."""

from collections.abc import Sequence
from textwrap import fill
from typing import Any

from matplotlib.figure import Figure

#: Most columns of a legend.
COLUMNS = 6
#: Width of a letter over the size of its font, on the safe side.
LETTER = 0.65


def legend_below(figure: Figure, handles: Sequence[Any], size: float = 6.5) -> None:
    """Put a legend under the axes in as many columns as fit; the figure grows by its height.

    Args:
        figure: with a constrained layout.
        handles: artists with labels.
        size: of the font.
    """
    keys = 4 * size / 72  # inches that a key and its gaps take, with some to spare
    for handle in handles:
        handle.set_label(wrapped(figure, handle.get_label(), size, without=keys))
    for columns in range(min(COLUMNS, len(handles)), 0, -1):
        legend = figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=size, frameon=False)
        extent = legend.get_window_extent()
        if extent.width <= figure.bbox.width or columns == 1:
            break
        legend.remove()
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + extent.height / figure.dpi)


def wrapped(figure: Figure, text: str, size: float, *, without: float = 0.0) -> str:
    """Text in lines that fit the figure's width, less some inches."""
    letters = int((figure.get_figwidth() - without) * 72 / (size * LETTER))
    return "\n".join(fill(line, letters) for line in text.splitlines())

"""The report in words and tables: the page, Markdown and LaTeX, from the templates beside this file."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from nnunet_reca.report.figures import DPI
from nnunet_reca.report.tables import Table

#: what a browser may load: nothing but what is inside the page
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_MARKDOWN = str.maketrans({sign: f"\\{sign}" for sign in "\\|_*"})
_LATEX = str.maketrans(
    {
        **{sign: f"\\{sign}" for sign in "&%_#${}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"$<$",
        ">": r"$>$",
        "±": r"$\pm$",
        "−": r"$-$",
        "×": r"$\times$",
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
        "–": "--",
        "²": r"\textsuperscript{2}",
    }
)


def html_page(content: Mapping[str, Any]) -> str:
    """The page; the figures' files are read and put inside.

    Args:
        content: what ``templates/page.html.j2`` shows.
    """
    return _templates().get_template("page.html.j2").render(content, policy=POLICY)


def tables_html(tables: Sequence[Table]) -> str:
    """The page's tables: each a ``figure`` that scrolls sideways where it is wider than the screen."""
    return _templates().get_template("tables.html.j2").module.tables(tables)  # type: ignore[attr-defined]


def markdown(table: Table) -> str:
    """A pipe table with its caption and notes."""
    return _templates().get_template("table.md.j2").render(table=table)


def latex(table: Table) -> str:
    """A ``table`` environment; needs the package booktabs."""
    headings = [_latex(name) for name in table.frame.columns]
    cells = table.frame.map(_latex).set_axis(range(len(headings)), axis=1)
    best = [["textbf: --rwrap" if (r, c) in table.best else "" for c in cells.columns] for r in cells.index]
    text = (
        cells.style.hide(axis="index")
        .format_index(headings.__getitem__, axis="columns")
        .apply(lambda frame: pd.DataFrame(best, frame.index, frame.columns), axis=None)
        .to_latex(
            column_format="l" * table.text_columns + "r" * (len(headings) - table.text_columns),
            caption=_latex(table.title),
            label=f"tab:{table.key}",
            hrules=True,
            position_float="centering",
        )
    )
    notes = rf"\par\smallskip\footnotesize {_latex(' '.join(table.notes))}" + "\n" if table.notes else ""
    return text.replace(r"\end{table}", notes + r"\end{table}")


def _latex(text: str) -> str:
    return text.translate(_LATEX)


def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("nnunet_reca.report"),
        autoescape=jinja2.select_autoescape(("html.j2",)),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"data_uri": _data_uri, "width": _width, "markdown": lambda text: text.translate(_MARKDOWN)}
    return environment


def _data_uri(file: Path) -> str:
    """A PNG as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}"


def _width(file: Path) -> int:
    """A figure's width in the page: pixels of a PNG's header, as 96 to the inch."""
    return round(int.from_bytes(file.read_bytes()[16:20], "big") * 96 / DPI)

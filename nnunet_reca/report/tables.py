"""A table of text, and its Markdown, LaTeX and HTML."""

import html
from dataclasses import dataclass, field

#: rows up to which a table is kept on one page
SHORT = 30
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "_": r"\_",
    "#": r"\#",
    "$": r"\$",
    "{": r"\{",
    "}": r"\}",
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


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        key: short name, for references.
        title: caption.
        columns: headings.
        rows: cells, as many as columns.
        text_columns: leading columns that hold names, not numbers.
        best: (row, column) of cells in bold.
        notes: sentences below the table.
    """

    key: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text_columns: int = 1
    best: frozenset[tuple[int, int]] = field(default_factory=frozenset)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"expected {len(self.columns)} cells in a row of {self.key}, got {len(row)}: {row}")


def transposed(table: Table, corner: str | None = None) -> Table:
    """Rows and columns exchanged, of a table with one text column."""
    columns = (table.columns[0] if corner is None else corner, *(row[0] for row in table.rows))
    rows = tuple((name, *(row[n] for row in table.rows)) for n, name in enumerate(table.columns) if n)
    best = frozenset((column - 1, row + 1) for row, column in table.best)
    return Table(table.key, table.title, columns, rows, 1, best, table.notes)


def markdown(table: Table) -> str:
    """A pipe table with its caption and notes."""

    def cell(text: str, bold: bool = False) -> str:
        text = text.replace("\\", "\\\\").replace("|", "\\|").replace("_", "\\_").replace("*", "\\*")
        return f"**{text}**" if bold else text

    align = [" --- " if n < table.text_columns else " ---: " for n in range(len(table.columns))]
    lines = [f"| {' | '.join(cell(c) for c in table.columns)} |", f"|{'|'.join(align)}|"]
    for r, row in enumerate(table.rows):
        lines.append(f"| {' | '.join(cell(text, (r, c) in table.best) for c, text in enumerate(row))} |")
    notes = "".join(f"\n{note}\n" for note in table.notes)
    return f"**{cell(table.title)}**\n\n" + "\n".join(lines) + f"\n{notes}"


def latex(table: Table) -> str:
    """A ``table`` environment; needs the package booktabs."""

    def cell(text: str, bold: bool = False) -> str:
        text = "".join(_LATEX.get(character, character) for character in text)
        return rf"\textbf{{{text}}}" if bold else text

    align = "l" * table.text_columns + "r" * (len(table.columns) - table.text_columns)
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{cell(table.title)}}}", rf"\label{{tab:{table.key}}}"]
    lines += [rf"\begin{{tabular}}{{{align}}}", r"\toprule", " & ".join(map(cell, table.columns)) + r" \\", r"\midrule"]
    for r, row in enumerate(table.rows):
        lines.append(" & ".join(cell(text, (r, c) in table.best) for c, text in enumerate(row)) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\smallskip\footnotesize {cell(' '.join(table.notes))}"] if table.notes else []
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def html_table(table: Table) -> str:
    """A ``figure`` with a table that scrolls sideways where it is wider than the screen."""

    def cell(text: str, column: int, row: int) -> str:
        kind = "th scope='row'" if column < table.text_columns else "td"
        text = html.escape(text)
        text = f"<b>{text}</b>" if (row, column) in table.best else text
        return f"<{kind}>{text}</{kind.split()[0]}>"

    head = "".join(
        f"<th scope='col'{' class=text' if n < table.text_columns else ''}>{html.escape(name)}</th>"
        for n, name in enumerate(table.columns)
    )
    body = "\n".join(
        f"<tr>{''.join(cell(text, c, r) for c, text in enumerate(row))}</tr>" for r, row in enumerate(table.rows)
    )
    notes = "".join(f"<p class='note'>{html.escape(note)}</p>" for note in table.notes)
    kind = "table short" if len(table.rows) <= SHORT else "table"
    return (
        f"<figure class='{kind}' id='{html.escape(table.key)}'><figcaption>{html.escape(table.title)}</figcaption>"
        f"<div class='scroll' tabindex='0'><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
        f"{notes}</figure>"
    )

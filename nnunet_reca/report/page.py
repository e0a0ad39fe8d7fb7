"""One HTML page that holds a whole report: figures inside, no scripts, no links; made for screens and paper."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass

from nnunet_reca.report.figures import DPI, Drawing
from nnunet_reca.report.tables import Table, html_table

#: what a browser may load: nothing but what is inside the page
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_CSS = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem 1rem 4rem; background: #fff; color: #1a1a1a;
  font: 16px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; padding-bottom: .2rem; border-bottom: 1px solid #ccc; }
p, li { max-width: 48rem; overflow-wrap: anywhere; }
li { margin-bottom: .35rem; }
ul { padding-left: 1.2rem; }
.lead { border-left: 4px solid #0072b2; padding: .1rem 0 .1rem .9rem; }
.warning { border-left: 4px solid #d55e00; padding: .1rem 0 .1rem .9rem; }
figure { margin: 1.2rem 0; }
figcaption { font-weight: 600; font-size: .95rem; margin-bottom: .4rem; overflow-wrap: anywhere; }
figure.drawing figcaption { font-weight: 400; font-size: .85rem; color: #444; margin: .3rem 0 0; max-width: 48rem; }
img { max-width: 100%; height: auto; display: block; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; border-top: 2px solid #222; border-bottom: 2px solid #222;
  font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .7rem; text-align: right; white-space: nowrap; }
thead th { border-bottom: 1px solid #222; vertical-align: bottom; white-space: normal; }
tbody th, th.text { text-align: left; font-weight: 400; }
thead th { font-weight: 600; }
tbody tr:nth-child(even) { background: #f4f6f8; }
.note { font-size: .82rem; color: #444; margin: .35rem 0 0; }
@page { size: A4; margin: 15mm 13mm; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  .scroll { overflow: visible; }
  table { font-size: 8pt; width: 100%; }
  th, td { padding: .16rem .35rem; white-space: normal; }
  tbody th { overflow-wrap: anywhere; min-width: 6.5em; }
  td { white-space: nowrap; }
  thead { display: table-header-group; }
  tr, img, figure.drawing, figure.short, li { break-inside: avoid; }
  h2, figcaption, p:has(+ figure) { break-after: avoid; }
  figure.drawing img { max-height: 225mm; width: auto; }
  tbody tr:nth-child(even) { background: none; }
  tbody tr { border-bottom: .5px solid #ddd; }
}
"""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        title: heading.
        paragraphs: text.
        points: list below it.
        tables, drawings: below that.
        kind: class of the paragraphs, "lead" or "warning".
    """

    title: str
    paragraphs: Sequence[str] = ()
    points: Sequence[str] = ()
    tables: Sequence[Table] = ()
    drawings: Sequence[Drawing] = ()
    kind: str = ""


def page(title: str, subtitle: str, sections: Sequence[Section], made_by: str) -> str:
    """The page; the figures' files are read and put inside."""
    body = "\n".join(_section(section) for section in sections)
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<meta http-equiv='Content-Security-Policy' content=\"{POLICY}\"><link rel='icon' href='data:,'>"
        f"<title>{html.escape(title)}</title><style>{_CSS}</style></head>\n<body><header><h1>{html.escape(title)}</h1>"
        f"<p>{html.escape(subtitle)}</p></header>\n<main>\n{body}\n</main>\n"
        f"<footer><p class='note'>{html.escape(made_by)}</p></footer></body></html>\n"
    )


def _section(section: Section) -> str:
    kind = f" class='{section.kind}'" if section.kind else ""
    parts = [f"<section><h2>{html.escape(section.title)}</h2>"]
    parts += [f"<p{kind}>{html.escape(text)}</p>" for text in section.paragraphs]
    if section.points:
        parts.append(f"<ul>{''.join(f'<li>{html.escape(text)}</li>' for text in section.points)}</ul>")
    parts += [html_table(table) for table in section.tables]
    parts += [_drawing(drawing) for drawing in section.drawings]
    return "\n".join([*parts, "</section>"])


def _drawing(drawing: Drawing) -> str:
    content = drawing.file.read_bytes()
    data = base64.b64encode(content).decode()
    width = round(int.from_bytes(content[16:20], "big") * 96 / DPI)  # pixels in a PNG's header, as 96 to the inch
    caption = html.escape(drawing.caption)
    return (
        f"<figure class='drawing'><img alt='{caption}' width='{width}' src='data:image/png;base64,{data}'>"
        f"<figcaption>{caption}</figcaption></figure>"
    )

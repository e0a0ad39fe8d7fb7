"""Sphinx configuration; ``make docs`` builds the pages into ``site/`` with warnings as errors.

Nothing is loaded from another host: system fonts, no scripts but the theme's own, equations as text.
"""

import importlib
import os
import re
from typing import Any

os.environ.setdefault("nnUNet_raw", "")  # nnU-Net warns about its folders when it is imported
os.environ.setdefault("nnUNet_preprocessed", "")
os.environ.setdefault("nnUNet_results", "")

import nnunet_reca  # noqa: E402

project = "nnunet_reca"
copyright = "2026, the nnunet_reca developers"
version = release = nnunet_reca.__version__
language = "en-GB"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
nitpicky = True
#: other packages' names, whose documentation would have to be fetched
nitpick_ignore_regex = [
    (r"py:.*", r"(?!nnunet_reca).*"),
    (r"py:.*", r"nnunet_reca\..*\.(NetworkSize|Size)"),
]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "show-inheritance": True, "no-value": True}
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"nnunet_reca {version}"
html_show_sphinx = False
html_copy_source = False

#: the star of a shape such as (B, *spatial, C), outside of literals
_STAR = re.compile(r"(``.*?``|`.*?`)|\*(?=[A-Za-z(])")
#: a cross-reference to a name that a package re-exports, such as nnunet_reca.blocks.SwinStage
_EXPORTED = re.compile(r"`(nnunet_reca\.\w+)\.(\w+)`")


def _defined(match: re.Match[str]) -> str:
    """The reference, by the module in which the name is defined and documented."""
    module, name = match[1], match[2]
    owner = getattr(getattr(importlib.import_module(module), name), "__module__", module)
    return f"`~{owner}.{name}`"


def prepare(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings write shapes plainly, whose stars reStructuredText would take for emphasis, and public names."""
    for i, line in enumerate(lines):
        lines[i] = _EXPORTED.sub(_defined, _STAR.sub(lambda match: match[1] or r"\*", line))


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", prepare, priority=400)  # before napoleon's 500

"""What the pages name exists: trainers, commands and their options, files; and their Python code holds."""

import contextlib
import importlib
import io
import itertools
import os
import re
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from unittest import mock

import pytest

from nnunet_reca import trainers
from nnunet_reca.plans.networks import NETWORKS
from nnunet_reca.trainers.names import base_names, parse_trainer_name

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES if page.is_file()}

pytestmark = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="source distributions have no documentation")


def found(pattern: str) -> set[str]:
    """What the pattern matches on any page."""
    return {match for text in TEXTS.values() for match in re.findall(pattern, text)}


def scripts() -> dict[str, str]:
    """Commands of this package -> ``module:function``, as pyproject.toml declares them."""
    section = (ROOT / "pyproject.toml").read_text(encoding="utf-8").split("[project.scripts]")[1].split("\n[")[0]
    return dict(re.findall(r'^(\w+) = "(.+)"$', section, flags=re.MULTILINE))


def python_blocks() -> Iterator[object]:
    for name, text in TEXTS.items():
        for i, block in enumerate(re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)):
            yield pytest.param(block, id=f"{name}:{i}")


def help_of(command: str) -> str:
    module, function = scripts()[command].split(":")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        getattr(importlib.import_module(module), function)(["--help"])
    return printed.getvalue()


def expanded(text):
    """What a shell makes of braces in a word."""
    parts = re.split(r"\{([^}]*)\}", text)
    choices = [part.split(",") if place % 2 else [part] for place, part in enumerate(parts)]
    return map("".join, itertools.product(*choices))


def test_every_trainer_on_the_pages_resolves():
    written = found(r"\bnnUNetTrainer(?:[A-Za-z0-9]|_(?!_)|\{[^}\s]*\})+")
    others = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "benchmarks" / "trainers").glob("*.py"))
    classes = r"class (nnUNetTrainer\w+)"
    names = {name for text in written for name in expanded(text)} - found(classes) - set(re.findall(classes, others))
    # of networks that differ in width and depth only, the smallest stands for all
    assert {name for name in base_names() if "tiny" in NETWORKS[parse_trainer_name(name).network].sizes} <= names
    for name in sorted(names):
        assert getattr(trainers, name).__name__ == name


def test_every_command_on_the_pages_exists():
    commands = found(r"\bnnUNetv2_\w+")
    assert {"nnUNetv2_reca_doctor", "nnUNetv2_train"} <= commands
    stock = {script.name for script in entry_points(group="console_scripts") if script.value.startswith("nnunetv2.")}
    assert commands - stock - set(scripts()) == set()


@pytest.mark.parametrize("command", sorted(scripts()))
def test_every_option_of_our_commands_on_the_pages_exists(command):
    called = found(rf"(?m)^(?: {{4}}|`){command}\b[^`\n]*")
    options = {option for line in called for option in re.findall(r"(?<=\s)--?[a-z][\w-]*", line)}
    known = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", help_of(command)))
    assert called and "--help" in known
    assert options - known == set()


@pytest.mark.parametrize("page", TEXTS)
def test_every_relative_link_points_at_a_file(page):
    links = re.findall(r"\]\(([^)\s]+)\)", TEXTS[page])
    files = [link.split("#")[0] for link in links if not re.match(r"https?:|#", link)]
    missing = [file for file in files if not (ROOT / page).parent.joinpath(file).is_file()]
    assert missing == []


@pytest.mark.parametrize("block", list(python_blocks()))
def test_python_on_the_pages_compiles_and_what_it_asserts_holds(block):
    code = compile(block, "page", "exec")
    if re.search(r"^assert |assert_close", block, flags=re.MULTILINE):
        with mock.patch.dict(os.environ):
            exec(code, {"__name__": "page"})

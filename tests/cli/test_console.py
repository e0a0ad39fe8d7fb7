"""Commands print on any console, and write UTF-8 whatever the locale."""

import ast
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.results_factory import two_models

from nnunet_reca.cli.console import make_printable

ROOT = Path(__file__).resolve().parents[2]
#: consoles that are not UTF-8: their variables, and the encoding of what they print
CONSOLES = {
    "ascii": ({"PYTHONIOENCODING": "ascii"}, "ascii"),
    "C": ({"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "utf-8"),
}
LOCALE = {"PYTHONIOENCODING", "PYTHONUTF8", "PYTHONCOERCECLOCALE", "LANG", "LC_ALL", "LC_CTYPE"}
#: command -> arguments that are refused, with a path that no such console can show
REFUSED = {
    "nnunet_reca.cli.compare": ("-d", "{path}", "-tr", "nnUNetTrainer"),
    "nnunet_reca.cli.convert_weights": ("x.pt", "-tr", "nnUNetTrainer", "-d", "1", "-c", "2d", "-o", "{path}"),
    "nnunet_reca.cli.doctor": (),
    "nnunet_reca.cli.explain": ("-i", "{path}", "-m", "{path}", "-o", "out"),
    "nnunet_reca.cli.plan": ("-d", "{path}", "-tr", "nnUNetTrainer", "-gpu_memory_target", "4"),
    "nnunet_reca.cli.study": ("{path}/study.yaml",),
    str(ROOT / "examples" / "demo.py"): ("--folder", "{path}"),
}


#: runs a command twice in one process, as from a shell
TWICE = """
import os, runpy, sys
command, *words = sys.argv[1:]
sys.path.insert(0, os.path.dirname(command))
for arguments in (["--help"], words):
    sys.argv = [command, *arguments]
    try:
        (runpy.run_path if command.endswith(".py") else runpy.run_module)(command, run_name="__main__")
    except SystemExit as end:
        print("status", end.code)
"""


def run(console: str, *words: str, **variables: str) -> tuple[int, str]:
    """Run Python on a console; its status, and all that it printed."""
    more, encoding = CONSOLES[console]
    done = subprocess.run(
        [sys.executable, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**{k: v for k, v in os.environ.items() if k not in LOCALE}, **more, **variables},
        check=False,
    )
    return done.returncode, done.stdout.decode(encoding)


@pytest.fixture
def odd(folders):
    """A file whose name no console here can show as it is."""
    path = folders / "Niño \N{MINUS SIGN} \N{GREEK SMALL LETTER OMEGA WITH TONOS}\N{SNOWMAN}"
    path.touch()
    return path


@pytest.mark.parametrize("command", REFUSED, ids=lambda command: re.split(r"[./]", command.removesuffix(".py"))[-1])
def test_commands_end_with_help_and_their_message_on_an_ascii_console(odd, command):
    words = [argument.format(path=odd) for argument in REFUSED[command]]
    status, text = run("ascii", "-c", TWICE, command, *words, nnUNet_results=str(odd))
    assert status == 0 and "Traceback" not in text
    assert "usage:" in text and "\nstatus 0\n" in text
    assert "Ni?o - ??" in text and re.search(r"\nstatus [12]\n", text)


def test_a_name_that_the_locale_cannot_decode_is_printed_as_it_is(odd):
    status, text = run("C", "-m", "nnunet_reca.cli.doctor", nnUNet_results=str(odd))
    assert status == 1 and str(odd) in text


@pytest.mark.parametrize("console", CONSOLES)
def test_a_comparison_prints_its_sentences_and_writes_utf8_on_any_console(folders, console):
    two_models(folders)
    options = ("-d", "999", "-tr", "nnUNetTrainerA", "nnUNetTrainerB", "-f", "0", "1", "-np", "1", "--overlays", "0")
    status, text = run(console, "-m", "nnunet_reca.cli.compare", *options, "-o", str(folders / "report"))
    assert status == 0 and "written: " in text and "Traceback" not in text
    for file in folders.joinpath("report").rglob("*.*"):
        if file.suffix in {".html", ".md", ".tex", ".csv", ".json"}:
            file.read_bytes().decode("utf-8")
    assert "\N{MINUS SIGN}" in (folders / "report" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", "-0.1 +- 0.2 - 3 x 4 mm^3 Q^ Ni?o ??"),
        ("cp1252", "-0.1 ± 0.2 – 3 × 4 mm³ Q^ Niño ??"),
        ("utf-8", "−0.1 ± 0.2 – 3 × 4 mm³ Q̂ Niño ☃ώ"),
    ],
)
def test_signs_keep_their_meaning_where_a_console_lacks_them(encoding, shown):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    make_printable(stream, None, io.StringIO())
    stream.write("−0.1 ± 0.2 – 3 × 4 mm³ Q̂ Niño ☃ώ")
    stream.flush()
    assert raw.getvalue().decode(encoding) == shown


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252", "gbk"])
def test_names_of_files_that_python_could_not_decode_are_printed_as_their_bytes(encoding):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    make_printable(stream)
    stream.write(b"a\xff\xe9b".decode("utf-8", "surrogateescape"))
    stream.flush()
    assert raw.getvalue() == b"a\xff\xe9b"


def test_every_command_is_among_those_tested_here():
    scripts = (ROOT / "pyproject.toml").read_text(encoding="utf-8").split("[project.scripts]")[1].split("\n[")[0]
    assert set(re.findall(r'= "([\w.]+):main"', scripts)) <= set(REFUSED)


def test_every_text_file_is_opened_with_its_encoding():
    """Nobody leaves the encoding to the locale."""
    left = []
    for folder in ("nnunet_reca", "examples", "benchmarks"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            left += [
                f"{file}:{node.lineno}" for node in ast.walk(tree) if isinstance(node, ast.Call) and _left_open(node)
            ]
    assert left == []


def _left_open(call: ast.Call) -> bool:
    """Whether a call opens a text file, or reads a process's text, in the locale's encoding."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    given = {keyword.arg for keyword in call.keywords}
    if "encoding" in given or None in given:
        return False
    if name in {"read_text", "write_text"}:
        return True
    if name in {"run", "Popen", "check_output"}:
        return bool(given & {"text", "universal_newlines"})
    if name not in {"open", "fdopen", "NamedTemporaryFile", "TemporaryFile"}:
        return False
    if isinstance(call.func, ast.Attribute) and getattr(call.func.value, "id", "") in {
        "Image",
        "zipfile",
        "h5py",
        "os",
    }:
        return False
    binary = name.endswith("TemporaryFile")  # unless a mode says otherwise
    modes = [w.value for w in [*call.args, *(k.value for k in call.keywords if k.arg == "mode")] if _is_mode(w)]
    return not any("b" in mode for mode in modes) if modes else not binary


def _is_mode(word: ast.expr) -> bool:
    return isinstance(word, ast.Constant) and isinstance(word.value, str) and set(word.value) <= set("rwaxbt+")

"""Commands print on any console, and write UTF-8 whatever the locale."""

import ast
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from results_factory import two_models

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
    str(ROOT / "examples" / "demo.py"): ("--folder", "{path}"),
}


def run(console: str, command: str, *arguments: str, **variables: str) -> tuple[int, str]:
    """Run a command on a console; its status, and all that it printed."""
    more, encoding = CONSOLES[console]
    module = (command,) if command.endswith(".py") else ("-m", command)
    done = subprocess.run(
        [sys.executable, *module, *arguments],
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


@pytest.mark.parametrize("console", CONSOLES)
@pytest.mark.parametrize("command", REFUSED, ids=lambda command: Path(command).stem.split(".")[-1])
def test_commands_end_with_help_or_their_message_on_any_console(odd, console, command):
    if console == "ascii":
        status, text = run(console, command, "--help")
        assert status == 0 and "usage:" in text
    words = [argument.format(path=odd) for argument in REFUSED[command]]
    status, text = run(console, command, *words, nnUNet_results=str(odd))
    assert status in (1, 2) and "Traceback" not in text
    assert ("Ni?o" in text or "Ni\\xf1o" in text) if console == "ascii" else "Niño" in text


@pytest.mark.parametrize("console", CONSOLES)
def test_a_comparison_prints_its_sentences_and_writes_utf8_on_any_console(folders, console):
    two_models(folders)
    options = ("-d", "999", "-tr", "nnUNetTrainerA", "nnUNetTrainerB", "-f", "0", "1", "-np", "1", "--overlays", "0")
    status, text = run(console, "nnunet_reca.cli.compare", *options, "-o", str(folders / "report"))
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
    if isinstance(call.func, ast.Attribute) and getattr(call.func.value, "id", "") in {"Image", "zipfile", "h5py"}:
        return False
    binary = name.endswith("TemporaryFile")  # unless a mode says otherwise
    modes = [w.value for w in [*call.args, *(k.value for k in call.keywords if k.arg == "mode")] if _is_mode(w)]
    return not any("b" in mode for mode in modes) if modes else not binary


def _is_mode(word: ast.expr) -> bool:
    return isinstance(word, ast.Constant) and isinstance(word.value, str) and set(word.value) <= set("rwaxbt+")

"""The house has one staircase; imports only point down."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "nnunet_reca"
STAIRCASE = ["ops", "blocks", "architectures", "plans", "trainers", "results"]
ABOVE = {"weights", "report", "explain", "cli"}
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(file: Path) -> set[str]:
    """Full names of all modules a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_point_down_the_staircase(file):
    layer = file.relative_to(PACKAGE).parts[0]
    if layer not in STAIRCASE:
        return
    allowed = set(STAIRCASE[: STAIRCASE.index(layer) + 1])
    used = {name.split(".")[1] for name in imports(file) if name.startswith("nnunet_reca.")}
    assert used <= allowed, f"{file} imports {used - allowed}"
    if layer in STAIRCASE[:3]:
        assert not any(name.split(".")[0] == "nnunetv2" for name in imports(file))


def test_reports_explanations_and_weights_meet_in_the_results_only():
    rooms = {"report", "explain", "weights"}
    for file in FILES:
        room = file.relative_to(PACKAGE).parts[0]
        if room in rooms:
            used = {name.split(".")[1] for name in imports(file) if name.startswith("nnunet_reca.")}
            assert not used & (rooms - {room}), f"{file} imports {used & rooms}"


def test_nobody_below_imports_the_weights():
    for file in FILES:
        if file.relative_to(PACKAGE).parts[0] not in ABOVE:
            assert not any(name.startswith("nnunet_reca.weights") for name in imports(file)), file


def test_only_the_command_imports_the_explanations():
    for file in FILES:
        if file.relative_to(PACKAGE).parts[0] not in {"explain", "cli"}:
            assert not any(name.startswith("nnunet_reca.explain") for name in imports(file)), file

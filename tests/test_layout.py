"""The house has one staircase; imports only point down, and never in a circle."""

import ast
import graphlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "nnunet_reca"
NAME = PACKAGE.name
#: floors from the lowest up; the rooms of one floor do not know each other
FLOORS = [
    {"ops"},
    {"blocks"},
    {"architectures"},
    {"plans"},
    {"memory"},
    {"trainers"},
    {"_discovery"},
    {"results"},
    {"weights", "report", "explain"},
    {"study"},
    {"cli"},
]
ROOMS = [room for floor in FLOORS for room in sorted(floor)]


def module_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def imports(file: Path) -> set[str]:
    """Modules of this package and others that a file imports, wherever in the file, by their full names."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{file}: relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in FILES else node.module for name in names}
    return found


def test_every_room_has_its_floor():
    rooms = {folder.name for folder in PACKAGE.iterdir() if (folder / "__init__.py").is_file()}
    assert rooms == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_down_the_staircase(room):
    floor = next(number for number, rooms in enumerate(FLOORS) if room in rooms)
    allowed = {room, *(below for rooms in FLOORS[:floor] for below in rooms)}
    files = [file for module, file in FILES.items() if module.split(".")[1:2] == [room]]
    assert files
    for file in files:
        used = {name.split(".")[1] for name in imports(file) if name.startswith(f"{NAME}.")} - {"__version__"}
        assert used <= allowed, f"{file} imports {used - allowed}"


@pytest.mark.parametrize("room", ["ops", "blocks", "architectures"])
def test_networks_do_not_know_nnunet(room):
    for file in (PACKAGE / room).rglob("*.py"):
        assert not any(name.split(".")[0] == "nnunetv2" for name in imports(file)), file


def test_no_module_imports_itself_by_way_of_others():
    graph = {}
    for module, file in FILES.items():
        used = {name for name in imports(file) if name in FILES and name != module}
        # a package's __init__ gathers its modules, which do not ask it back
        graph[module] = {name for name in used if not module.startswith(f"{name}.")}
        in_package = (
            file.parent / "__init__.py"
        ).is_file()  # not so the shims, which nnU-Net imports by their bare names
        back = {name for name in imports(file) if module.startswith(f"{name}.") and name != NAME and in_package}
        assert not back, f"{module} imports the package it is in: {back}"
    tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError

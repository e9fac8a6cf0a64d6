"""Imports run downwards: no circle of files, and no arrow from a room to one above it, in docs/architecture.md's order.

Imports inside functions and those for type checkers alone count as well.
"""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "openjepa"
FACE = "openjepa"
"""The package itself, which hands on names of every room and stands above all."""


def module_of(path: Path, source: Path = SOURCE) -> str:
    parts = (FACE, *path.relative_to(source).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(text: str, known: set[str]) -> set[str]:
    """The modules among `known` that a file imports, wherever in it the import stands."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole path"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & known
            if names - known:  # something of the module itself
                found.add(str(node.module))
    return found & known


@cache
def graph() -> dict[str, set[str]]:
    """What each module imports of the others."""
    files = {module_of(path): path for path in SOURCE.rglob("*.py")}
    return {name: imports_of(path.read_text(), set(files)) - {name} for name, path in files.items()}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import one another (strongly connected components of more than one)."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        seen, ahead = set(), [start]
        while ahead:
            for name in graph[ahead.pop()] - seen:
                seen.add(name)
                ahead.append(name)
        reached[start] = seen
    groups = {tuple(sorted(b for b in reached[a] if a in reached[b])) for a in graph if a in reached[a]}
    return [list(group) for group in sorted(groups)]


@cache
def floors() -> dict[str, int]:
    """Each room's floor in the list under "Rooms" in docs/architecture.md, whose first line is the top one."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    lines = page.partition("## Rooms")[2].split("```")[1].strip().splitlines()
    rooms = [line.partition("   ")[0].split() for line in lines]
    return {room: number for number, names in enumerate(reversed(rooms)) for room in names}


def room_of(module: str) -> str:
    return module.split(".")[1]


def upward(graph: dict[str, set[str]], floors: dict[str, int]) -> list[str]:
    """Imports of another room that does not lie below."""
    return [
        f"{name} -> {other}"
        for name, others in sorted(graph.items())
        for other in sorted(others)
        if name != FACE and (other == FACE or room_of(name) != room_of(other))
        if other == FACE or floors[room_of(name)] <= floors[room_of(other)]
    ]


def test_every_room_is_listed():
    rooms = {path.stem for path in SOURCE.glob("*.py")} | {path.parent.name for path in SOURCE.glob("*/*.py")}
    assert rooms - {"__init__", "__main__"} == floors().keys() - {"__main__"}


def test_no_files_import_one_another():
    assert not circles(graph())


def test_imports_run_downwards():
    assert not upward(graph(), floors() | {"__main__": len(floors())})


@pytest.mark.parametrize(
    "text",
    [
        "from openjepa.b import thing",
        "from openjepa import b",
        "import openjepa.b",
        "def late():\n    from openjepa.b import thing",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from openjepa.b import thing",
    ],
)
def test_every_kind_of_import_is_seen(text):
    assert imports_of(text, {"openjepa", "openjepa.a", "openjepa.b"}) == {"openjepa.b"}


def test_a_circle_and_an_upward_arrow_are_found():
    drawn = {"openjepa.a": {"openjepa.b"}, "openjepa.b": {"openjepa.c"}, "openjepa.c": {"openjepa.a"}}
    assert circles(drawn) == [["openjepa.a", "openjepa.b", "openjepa.c"]]
    assert circles({"openjepa.a": {"openjepa.b"}, "openjepa.b": set()}) == []
    assert upward(drawn, {"a": 2, "b": 1, "c": 0}) == ["openjepa.c -> openjepa.a"]

"""One name, one thing: no class has the name of another, nor that of a type that another file defines."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "openjepa"


def defined(text: str) -> tuple[set[str], set[str]]:
    """The classes of a file, wherever in it they stand, and the names of types that it puts together."""
    tree = ast.parse(text)
    classes = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    targets = [node.targets[0] for node in tree.body if isinstance(node, ast.Assign)]
    names = {target.id for target in targets if isinstance(target, ast.Name)}
    return classes, {name for name in names if name[0].isupper() and not name.isupper()}


def twice(files: dict[str, str]) -> dict[str, list[str]]:
    """Names that stand for more than one thing, at least one of them a class, with their files."""
    classes, types = defaultdict(list), defaultdict(list)
    for file, text in files.items():
        found, made = defined(text)
        for name in found:
            classes[name].append(file)
        for name in made:
            types[name].append(file)
    return {
        name: sorted(where + types[name])
        for name, where in sorted(classes.items())
        if len(where) > 1 or types[name]
    }


def test_no_name_is_given_twice() -> None:
    files = {str(path.relative_to(SOURCE)): path.read_text() for path in SOURCE.rglob("*.py")}
    assert len(files) > 100
    assert not twice(files)


@pytest.mark.parametrize(
    "text",
    [
        "class Thing: ...",
        "def make():\n    class Thing: ...",
        "Thing = int | str",
    ],
)
def test_every_kind_of_name_is_seen(text: str) -> None:
    assert twice({"a.py": "class Thing: ...", "b.py": text}) == {"Thing": ["a.py", "b.py"]}


def test_types_of_one_name_and_constants_are_let_be() -> None:
    assert not twice({"a.py": "Rows = list[int]\nTHING = 1", "b.py": "Rows = list[int]\nclass Thing: ..."})

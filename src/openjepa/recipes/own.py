"""Recipes in a file of one's own, which the command line names: `my_idea.py:MyJEPA`."""

import hashlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from openjepa.errors import UserError, warn
from openjepa.recipes.base import Recipe, all_recipes, register

_FILES: dict[str, dict[str, str]] = {}
"""Where recipes come from, by their names."""


def is_file(name: str) -> bool:
    """Whether a recipe is named by its file."""
    return name.partition(":")[0].endswith(".py")


def enter(name: str) -> str:
    """Import `FILE.py:CLASS`, or `FILE.py` where one recipe is in it, and enter the recipe under its own name.

    Only what a user types is imported, never what a saved file names.

    Raises:
        UserError: no such file or class, or the file fails.
    """
    path, _, wanted = name.partition(":")
    file = Path(path)
    if not file.is_file():
        raise UserError(f"{path} does not exist: name a Python file with a recipe, as FILE.py:CLASS")
    before = set(all_recipes())
    module = _imported(file)
    if wanted and not hasattr(module, wanted):
        raise UserError(
            f"{path} has no class {wanted}: it has {', '.join(_recipes_in(module)) or 'no recipe'}"
        )
    found = {wanted: getattr(module, wanted)} if wanted else _recipes_in(module)
    if len(found) != 1 or not _is_recipe(next(iter(found.values()))):
        known = ", ".join(_recipes_in(module)) or "none"
        raise UserError(
            f"{name} is not one recipe: name a class derived from a recipe, of {known}, as FILE.py:CLASS"
        )
    cls = next(iter(found.values()))
    own = cls.model_fields["recipe"].default
    if not isinstance(own, str):
        raise UserError(
            f"{name}: its recipe has no name: begin it with `recipe: Literal['my-idea'] = 'my-idea'`"
        )
    came_from = {
        "file": f"{file.resolve()}:{cls.__name__}",
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    again = _FILES.get(own, {}).get("file") == came_from["file"]
    if own in before and not again:
        raise UserError(f"{name} calls itself {own!r}, as another recipe does: choose another name")
    register(own)(cls)
    _FILES[own] = came_from
    return own


def origin(recipe: str) -> dict[str, str] | None:
    """`file` and `sha256` of a recipe that came from a file; `None` of any other."""
    return _FILES.get(recipe)


def check_origin(run: str | Path, saved: Any) -> None:
    """Compare what a run has written down of its recipe's file with what was imported now.

    Raises:
        UserError: nothing was imported; the sentence says what to type.
    """
    if not isinstance(saved, dict) or not isinstance(saved.get("file"), str):
        return
    known = [origin for origin in _FILES.values() if origin["file"] == saved["file"]]
    if not known and saved.get("recipe") not in all_recipes():
        raise UserError(f"{run} is a run of a recipe of your own: add --recipe {saved['file']}")
    if known and known[0]["sha256"] != saved.get("sha256"):
        warn(f"{saved['file'].rpartition(':')[0]} has changed since {run} was started")


def _imported(file: Path) -> Any:
    name = f"openjepa_recipe_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(file.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UserError(f"{file} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(file.resolve().parent))
    return module


def _is_recipe(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Recipe)


def _recipes_in(module: Any) -> dict[str, type[Recipe]]:
    """Recipes that the file itself defines, by class name."""
    return {
        name: value
        for name, value in vars(module).items()
        if _is_recipe(value) and value.__module__ == module.__name__
    }

"""Recipes and parts in files of one's own, which the command line names: `my_idea.py:MyJEPA`.

Only what a user types is imported, never what a saved file names. A run writes down the path and the hash of each file,
so that it can say what to type, and whether a file has changed.
"""

import hashlib
import importlib.util
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openjepa import parts
from openjepa.common import files
from openjepa.config import Choice, Config
from openjepa.config import entered as entered_in
from openjepa.errors import UserError, warn
from openjepa.recipes.base import Recipe, all_recipes, register


@dataclass(frozen=True)
class Imported:
    """A file that was imported, as it was then."""

    path: Path
    sha256: str
    module: Any


_NAMED = re.compile(r"(.+\.py)(?::(\w*))?")
_FILES: dict[str, Imported] = {}
"""By the name of the module that each became."""


def is_file(name: str) -> bool:
    """Whether a recipe or a part is named by its file."""
    return _NAMED.fullmatch(name) is not None


def _split(name: str) -> tuple[str, str]:
    """The file and what is wanted of it, which may be empty."""
    found = _NAMED.fullmatch(name)
    return (found[1], found[2] or "") if found else (name, "")


def enter(name: str) -> str:
    """Import `FILE.py:CLASS`, or `FILE.py` where one recipe is in it, and enter the recipe under its own name.

    Raises:
        UserError: no such file or class, or the file fails.
    """
    path, wanted = _split(name)
    module = _imported(path)
    found = _recipes_in(module)
    if wanted and wanted not in found and not _is_recipe(getattr(module, wanted, None)):
        if hasattr(module, wanted):
            raise UserError(f"{name} is not one recipe: {_offered(module)}")
        raise UserError(f"{path} has no class {wanted}: {_offered(module)}")
    if not wanted and len(found) != 1:
        raise UserError(f"{name} is not one recipe: {_offered(module)}; name one as FILE.py:CLASS")
    return _register(getattr(module, wanted) if wanted else next(iter(found.values())), name)


def enter_all(name: str) -> None:
    """Import `FILE.py:NAME`, a recipe or a part, or all recipes and parts of `FILE.py`.

    Raises:
        UserError: see `enter`; or there is neither.
    """
    path, wanted = _split(name)
    module = _imported(path)
    found, known = _recipes_in(module), {part.__name__ for _, part in _parts_in(module)}
    if wanted in known:
        return
    if wanted:
        enter(name)
        return
    if not found and not known:
        raise UserError(f"{path} has neither a recipe nor a part: {_offered(module)}")
    for cls in found.values():
        _register(cls, f"{path}:{cls.__name__}")


def entered(changes: Mapping[str, str]) -> dict[str, str]:
    """Dotted options with the kind in place of `FILE.py:NAME`, where that names a part of somebody's own.

    Raises:
        UserError: no such file or part, or the file fails.
    """
    found = dict(changes)
    for option, value in changes.items():
        room = option.removesuffix(".kind").rpartition(".")[2]
        if room in parts.OPTIONS and isinstance(value, str) and is_file(value):
            found[option] = _part(room, value)
    return found


def _part(option: str, name: str) -> str:
    """The kind of a part that is named by its file, for an option of that last name."""
    path, wanted = _split(name)
    module = _imported(path)
    found = {part.__name__: part for room, part in _parts_in(module) if room in parts.OPTIONS[option]}
    if (wanted and wanted not in found) or (not wanted and len(found) != 1):
        raise UserError(
            f"{name} is not one {option}: {path} has {', '.join(found) or 'none'}; write @parts.{option} above a "
            "function or a class, and name it as FILE.py:NAME"
        )
    return found[wanted or next(iter(found))].model_fields["kind"].default


def origins(config: Recipe) -> list[dict[str, str]]:
    """`file` and `sha256` of the recipe and of each part of a config that came from a file; and what it is."""
    used = [(what, type(part)) for known in _with_source(config) for what, part in _named(known)]
    return [
        {"what": what, "file": f"{came.path}:{cls.__name__}", "sha256": came.sha256}
        for what, cls in dict.fromkeys(used)
        if (came := _FILES.get(cls.__module__)) is not None
    ]


def _named(config: Recipe) -> Iterable[tuple[str, Config]]:
    """A recipe and its choices, each with what a run calls it."""
    yield f"recipe {config.recipe}", config
    for path, part in config.within():
        if isinstance(part, Choice):
            yield f"{path.rpartition('.')[2]} {part.kind}", part


def _with_source(config: Recipe) -> Iterable[Recipe]:
    """A recipe, and that of the run whose encoder it starts from."""
    yield config
    source = getattr(config, "of", None)
    if isinstance(source, Mapping) and (recipe := all_recipes().get(str(source.get("recipe")))):
        yield from _with_source(recipe.parse(source))


def check_run(run: str | Path) -> None:
    """Compare what a run's directory says of files of somebody's own with what was imported now.

    Raises:
        UserError: something is missing; the sentence says what to type.
    """
    try:
        saved = files.read_json(Path(run) / files.ABOUT).get("own")
    except UserError:
        return
    sound = [o for o in saved if _is_origin(o)] if isinstance(saved, list) else []
    known = {origin["what"]: _known(origin["what"]) for origin in sound}
    missing = [origin["file"] for origin in sound if known[origin["what"]] is None]
    if missing:
        what = "a recipe" if any(o["what"].startswith("recipe ") for o in sound) else "parts"
        named = " ".join(f"--own {file}" for file in dict.fromkeys(missing))
        raise UserError(f"{run} is a run of {what} of your own: add {named}")
    changed = {
        came.path
        for origin in sound
        if (cls := known[origin["what"]]) is not None
        and (came := _FILES.get(cls.__module__)) is not None
        and came.sha256 != origin["sha256"]
    }
    for path in sorted(changed):
        warn(f"{path} has changed since {run} was started")


def _is_origin(origin: Any) -> bool:
    return isinstance(origin, dict) and all(
        isinstance(origin.get(k), str) for k in ("what", "file", "sha256")
    )


def _known(what: str) -> type | None:
    """The recipe or the choice that a run calls so, where there is one now."""
    choice, _, name = what.partition(" ")
    if choice == "recipe":
        return all_recipes().get(name)
    return next((e[name] for room in parts.OPTIONS.get(choice, ()) if name in (e := entered_in(room))), None)


def _register(cls: type[Recipe], name: str) -> str:
    own = cls.model_fields["recipe"].default
    if not isinstance(own, str):
        raise UserError(
            f"{name}: its recipe has no name: begin it with `recipe: Literal['my-idea'] = 'my-idea'`"
        )
    other = all_recipes().get(own)
    if other is not None and _home(other) != _home(cls):
        raise UserError(f"{name} calls itself {own!r}, as another recipe does: choose another name")
    register(own)(cls)
    return own


def _home(cls: type) -> Any:
    """Where a class was defined, the same for the file before and after it was changed."""
    came = _FILES.get(cls.__module__)
    return (came.path if came else cls.__module__), cls.__name__


def _imported(name: str) -> Any:
    """The file's module, imported once unless it has changed."""
    file = Path(name)
    if not file.is_file():
        raise UserError(f"{name} does not exist: name a Python file with a recipe or a part, as FILE.py:NAME")
    path, sha256 = file.resolve(), hashlib.sha256(file.read_bytes()).hexdigest()
    module_name = f"openjepa_own_{file.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    before = _FILES.get(module_name)
    if before is not None and before.sha256 == sha256:
        return before.module
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise UserError(f"{file} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.parent))
    _FILES[module_name] = Imported(path, sha256, module)
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


def _parts_in(module: Any) -> list[tuple[str, type[Choice]]]:
    """Parts that the file itself defines, each with its choice."""
    return [
        (room, part)
        for room in parts.ROOMS
        for part in entered_in(room).values()
        if part.__module__ == module.__name__
    ]


def _offered(module: Any) -> str:
    recipes = ", ".join(_recipes_in(module)) or "no recipe"
    found = ", ".join(f"{part.__name__} ({room})" for room, part in _parts_in(module))
    return f"it has {recipes}" + (f", and {found}" if found else "")

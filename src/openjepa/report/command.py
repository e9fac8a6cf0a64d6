"""The command line that gives a config again."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from openjepa.config import as_text
from openjepa.errors import UserError
from openjepa.recipes import configure


def command_for(config: Mapping[str, Any]) -> str | None:
    """`openjepa train ...`, a line per option that differs from the preset; `None` when no such command exists.

    The command is checked: it is only given if it leads to exactly this config.
    """
    recipe, preset = config.get("recipe"), config.get("preset")
    try:
        wanted = configure(str(recipe), None, None, config).model_dump(mode="json")
        changes: dict[str, str] = {}
        for _ in range(4):  # a switched choice brings options of its own, which the next round compares
            reached = configure(str(recipe), preset, changes).model_dump(mode="json")
            missing = {path: as_text(v) for path, v in _differences(wanted, reached)}
            if not missing:
                break
            changes |= missing
        else:
            return None
    except UserError:
        return None
    lines = [["openjepa", "train", str(recipe), "--preset", str(preset)]]
    lines += [[f"--{path}", value] for path, value in changes.items()]
    return " \\\n    ".join(map(shlex.join, lines))


def _differences(
    wanted: Mapping[str, Any], reached: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Dotted paths at which `wanted` has another value; of a choice of another kind only the kind."""
    for name, value in wanted.items():
        there = reached.get(name)
        path = prefix + name
        if isinstance(value, Mapping) and isinstance(there, Mapping):
            if value.get("kind") != there.get("kind"):
                yield path, value["kind"]
            else:
                yield from _differences(value, there, f"{path}.")
        elif value != there:
            yield path, value

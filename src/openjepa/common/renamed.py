"""Names of before a rename: files that were saved then are read with today's."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Recipe(NamedTuple):
    """What a recipe is called today, and the kind of its signal, which tells it from a later one of its old name."""

    name: str
    signal: str


RECIPES = {"ts-jepa": Recipe("remote-jepa", "frames")}
"""By their old names."""


def current(saved: Any) -> Any:
    """Plain data of a saved config with today's names; anything else as it is."""
    if not isinstance(saved, Mapping) or not isinstance(saved.get("recipe"), str):
        return saved
    today, signal = RECIPES.get(saved["recipe"]), saved.get("signal")
    kind = signal.get("kind") if isinstance(signal, Mapping) else None
    if today is None or kind not in (None, today.signal):
        return saved
    return {**saved, "recipe": today.name}


def is_recipe(saved: str | None, name: str) -> bool:
    """Whether a recipe's saved name, as weights have it, means the recipe that is called `name` today."""
    return saved == name or (saved in RECIPES and RECIPES[saved].name == name)

"""Names of before a rename: files that were saved then are read with today's."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from openjepa.errors import UserError


class NewName(NamedTuple):
    """What a recipe is called today, and the kind of its signal, which tells it from a later one of its old name."""

    name: str
    signal: str


class OldNames(NamedTuple):
    """Old names in plain data, by the dotted path that they had there.

    Attributes:
        keys: what the last part of a path is called today.
        values: what values of a path, or kinds of a choice, are called today.
    """

    keys: Mapping[str, str]
    values: Mapping[str, Mapping[str, str]]


RECIPES = {"ts-jepa": NewName("remote-jepa", "frames")}
"""By their old names, which may be another recipe's today. The signal's kind tells which a config means, and all that
were saved have it; one without it means today's."""
_PREDICTORS = {"conditioned": "adaln", "concatenated": "concat"}
CONFIGS = OldNames(
    keys={"signal.told": "block_actions"},
    values={"predictor": _PREDICTORS, "level2.predictor": _PREDICTORS},
)
PROTOCOLS = OldNames(
    keys={
        "hold": "steps_at_goal",
        "planner.hold": "action_repeat",
        "higher.planner.hold": "action_repeat",
        "oracle.hold": "action_repeat",
        "cost.doubt": "prediction_error",
        "cost.doubt_width": "prediction_error_width",
    },
    values={"between": {"hold": "last"}},
)
POLICIES = {
    "wide-walk": "leg-walk",
    "bold-walk": "wall-seeking-walk",
    "clumsy": "perturbed-expert",
}
"""Policies that episodes were collected with, by their old names."""
FILMS = {"held": "moments"}
"""Parts of the films of episodes, by their old names."""


def current(saved: Any) -> Any:
    """Plain data of a saved config with today's names; anything else as it is."""
    if not isinstance(saved, Mapping) or not isinstance(saved.get("recipe"), str):
        return saved
    signal = saved.get("signal")
    kind = signal.get("kind") if isinstance(signal, Mapping) else None
    if kind not in (None, "frames"):
        return saved
    today = RECIPES.get(saved["recipe"])
    renamed = saved if today is None or kind != today.signal else {**saved, "recipe": today.name}
    return _renamed(renamed, CONFIGS)


def current_protocol(saved: Any) -> Any:
    """Plain data of a saved protocol with today's names; anything else as it is."""
    return _renamed(saved, PROTOCOLS)


def refuse_old(changes: Mapping[str, Any], names: OldNames) -> None:
    """Raises UserError for a dotted option, or the kind of a choice, by its old name: it says today's."""
    for path, value in changes.items():
        option = path.removesuffix(".kind")
        if option in names.keys:
            parents, _, _ = option.rpartition(".")
            today = f"{parents}.{names.keys[option]}" if parents else names.keys[option]
            raise UserError(f"the option {option} is now called {today}")
        known = names.values.get(option, {})
        if isinstance(value, str) and value in known:
            raise UserError(f"{option}: {value!r} is now called {known[value]!r}")


def is_recipe(saved: str | None, name: str) -> bool:
    """Whether a recipe's saved name, as weights have it, means the recipe that is called `name` today."""
    return saved == name or (saved in RECIPES and RECIPES[saved].name == name)


def _renamed(saved: Any, names: OldNames, path: str = "") -> Any:
    """Plain data at a dotted path."""
    if isinstance(saved, str):
        return names.values.get(path, {}).get(saved, saved)
    if isinstance(saved, list | tuple):
        return [_renamed(item, names, path) for item in saved]
    if not isinstance(saved, Mapping):
        return saved
    found = {}
    for key, value in saved.items():
        inner = f"{path}.{key}" if path else str(key)
        found[names.keys.get(inner, key)] = _renamed(value, names, path if key == "kind" else inner)
    return found

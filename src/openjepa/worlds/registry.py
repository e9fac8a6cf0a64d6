"""Worlds by name."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from inspect import signature
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import numpy as np
from pydantic import TypeAdapter, ValidationError

from openjepa.errors import UserError
from openjepa.worlds.factors import unknown

if TYPE_CHECKING:
    from openjepa.worlds.base import World
    from openjepa.worlds.third_party import ThirdParty

W = TypeVar("W", bound=type["World"])

THIRD_PARTY = "gym:"
"""How the names of other people's environments begin."""

_WORLDS: dict[str, type["World"]] = {}
_NAMED: set[str] = set()
"""Worlds that the user has named himself in this process."""


def register(name: str) -> Callable[[W], W]:
    """Class decorator: make a world known by name."""

    def known(cls: W) -> W:
        cls.name = name
        _WORLDS[name] = cls
        return cls

    return known


def names() -> list[str]:
    """All worlds that `make` knows."""
    return sorted(_WORLDS)


def classes() -> dict[str, type["World"]]:
    """All worlds by name."""
    return dict(_WORLDS)


def make(name: str, **options: Any) -> "World":
    """A world by name.

    Raises:
        UserError: an unknown world or option, with the nearest name, or a value that does not fit.
    """
    if name not in _WORLDS:
        raise unknown("world", name, names())
    return _WORLDS[name](**_fitting(name, option_types(name), options))


def option_types(name: str) -> dict[str, Any]:
    """The options of a world, or of Gymnasium's environments, with their types; none of an unknown world."""
    if not name.startswith(THIRD_PARTY):
        cls = _WORLDS.get(name)
        hints = get_type_hints(cls) if cls else {}
        return {field.name: hints[field.name] for field in (fields(cls) if cls else ())}
    from openjepa.worlds.third_party import ThirdParty

    hints = get_type_hints(ThirdParty.__init__)
    return {option: hints[option] for option in signature(ThirdParty).parameters if option != "id"}


def open_world(name: str, **options: Any) -> "World | ThirdParty":
    """A world by name, or a Gymnasium environment, `gym:ID`; of `gym:MODULE:ID` the module is imported.

    For names that come from the user. Those from files go to `open_saved`.

    Raises:
        UserError: see `make` and `ThirdParty`.
    """
    _NAMED.add(name)
    return _open(name, options)


def open_saved(where: str, name: str, options: Mapping[str, Any]) -> "World | ThirdParty":
    """A world that a file names; no module that only a file names is imported.

    Args:
        where: the name was found, for messages.

    Raises:
        UserError: see `open_world`; or a module would be imported, or a file opened, that the user has not named.
    """
    kwargs = options.get("kwargs", {})
    if name.startswith(THIRD_PARTY) and name not in _NAMED and (name.count(":") > 1 or _reaches(kwargs)):
        what = "a file or module" if _reaches(kwargs) else f"the module {name.split(':')[1]!r}"
        raise UserError(
            f"{where} has the environment {name!r}, which opens {what}, and nothing is imported because a file says "
            f"so: if you trust it, add --env {name!r} (in Python: openjepa.worlds.open_world first)"
        )
    return _open(name, options)


def named(name: str) -> None:
    """The user has named this world, so that `open_saved` may open it."""
    _NAMED.add(name)


def _open(name: str, options: Mapping[str, Any]) -> "World | ThirdParty":
    if not name.startswith(THIRD_PARTY):
        return make(name, **options)
    from openjepa.worlds.third_party import ThirdParty

    return ThirdParty(name.removeprefix(THIRD_PARTY), **_fitting(name, option_types(name), options))


def _fitting(name: str, hints: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as the types that they have."""
    found = {}
    for option, value in options.items():
        if option not in hints:
            raise unknown(f"option of {name}", option, hints)
        plain = value.item() if isinstance(value, np.generic) else value
        try:
            found[option] = TypeAdapter(hints[option]).validate_python(plain)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise UserError(f"{name}: option {option} cannot be {value!r} ({reason})") from None
    return found


def _reaches(value: Any) -> bool:
    """Whether plain data holds a text that can be a path or a module with a name in it."""
    if isinstance(value, Mapping):
        return any(map(_reaches, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_reaches, value))
    return isinstance(value, str) and any(mark in value for mark in "/\\:")

"""Worlds by name."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import numpy as np
from pydantic import TypeAdapter, ValidationError

from openjepa.errors import UserError
from openjepa.worlds.factors import unknown

if TYPE_CHECKING:
    from openjepa.worlds.base import World

W = TypeVar("W", bound=type["World"])

THIRD_PARTY = "gym:"
"""Prefix of the names of other people's environments."""

_WORLDS: dict[str, type["World"]] = {}


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
    return _WORLDS[name](**fitting(name, own_options(name), options))


def own_options(name: str) -> dict[str, Any]:
    """The options of a world with their types; none of an unknown world."""
    cls = _WORLDS.get(name)
    hints = get_type_hints(cls) if cls else {}
    return {field.name: hints[field.name] for field in (fields(cls) if cls else ())}


def fitting(name: str, hints: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
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

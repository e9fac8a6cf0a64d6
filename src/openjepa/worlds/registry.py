"""Worlds by name."""

from collections.abc import Callable
from dataclasses import fields
from inspect import signature
from typing import TYPE_CHECKING, Any, TypeVar

from openjepa.worlds.factors import unknown

if TYPE_CHECKING:
    from openjepa.worlds.base import World
    from openjepa.worlds.third_party import ThirdParty

W = TypeVar("W", bound=type["World"])

THIRD_PARTY = "gym:"
"""How the names of other people's environments begin."""

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
    cls = _WORLDS[name]
    known = [field.name for field in fields(cls)]
    for option in options:
        if option not in known:
            raise unknown(f"option of {name}", option, known)
    return cls(**options)


def open_world(name: str, **options: Any) -> "World | ThirdParty":
    """A world by name, or a Gymnasium environment, `gym:ID`.

    Raises:
        UserError: see `make` and `ThirdParty`.
    """
    if not name.startswith(THIRD_PARTY):
        return make(name, **options)
    from openjepa.worlds.third_party import ThirdParty

    known = [option for option in signature(ThirdParty).parameters if option != "id"]
    for option in options:
        if option not in known:
            raise unknown(f"option of {name}", option, known)
    return ThirdParty(name.removeprefix(THIRD_PARTY), **options)

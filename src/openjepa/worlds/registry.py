"""Worlds by name."""

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from openjepa.worlds.factors import unknown

if TYPE_CHECKING:
    from openjepa.worlds.base import World

W = TypeVar("W", bound=type["World"])

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

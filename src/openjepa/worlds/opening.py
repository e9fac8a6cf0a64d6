"""Worlds by name, other people's among them, whether the user names them or a file."""

from collections.abc import Mapping
from inspect import signature
from typing import TYPE_CHECKING, Any, get_type_hints

from openjepa.errors import UserError
from openjepa.worlds.registry import THIRD_PARTY, fitting, make, own_options

if TYPE_CHECKING:
    from openjepa.worlds.base import World
    from openjepa.worlds.third_party import ThirdParty


_NAMED: set[str] = set()
"""Worlds that the user has named himself in this process."""


def option_types(name: str) -> dict[str, Any]:
    """The options of a world, or of Gymnasium's environments, with their types; none of an unknown world."""
    if not name.startswith(THIRD_PARTY):
        return own_options(name)
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

    return ThirdParty(name.removeprefix(THIRD_PARTY), **fitting(name, option_types(name), options))


def _reaches(value: Any) -> bool:
    """Whether plain data holds a text that can be a path or a module with a name in it."""
    if isinstance(value, Mapping):
        return any(map(_reaches, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_reaches, value))
    return isinstance(value, str) and any(mark in value for mark in "/\\:")

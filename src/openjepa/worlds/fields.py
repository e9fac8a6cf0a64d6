"""Which arrays of an episode are frames, actions and state: as the user names them, else by what they look like."""

import difflib
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from openjepa.errors import UserError

NAMES = ("frames", "actions", "state", "lengths", "offsets")
"""Fields that a user may name."""
_ACTIONS = ("actions", "action")
_STATES = ("state", "states", "proprio", "qpos", "observation.state", "observation")


@dataclass(frozen=True)
class Fields:
    """Paths within an episode; `state` is `None` where there is none."""

    frames: str
    actions: str
    state: str | None = None


def find_fields(
    where: str, present: Iterable[str], pictures: Iterable[str], names: Mapping[str, str]
) -> Fields:
    """The arrays to read.

    Args:
        where: the file or folder, for messages.
        present: paths of all arrays of an episode.
        pictures: those that can be frames.
        names: what the user has named, by `NAMES`.

    Raises:
        UserError: an unknown name, a path that is not there, no frames or no actions, or several that may be meant.
    """
    present, pictures = sorted(present), sorted(pictures)
    for name, path in names.items():
        if name not in NAMES:
            close = difflib.get_close_matches(name, NAMES, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f": use {', '.join(NAMES)}"
            raise UserError(f"names has the unknown key {name!r}{hint}")
        if name in ("frames", "actions", "state") and path not in present:
            raise UserError(f"{where} has no {path!r}, which is to be its {name}: it holds {_list(present)}")
    present, pictures = ([path for path in paths if not _later(path)] for paths in (present, pictures))
    return Fields(
        names.get("frames") or _one(where, "frames", pictures, present),
        names.get("actions") or _one(where, "actions", _called(present, _ACTIONS), present),
        names.get("state") or next(iter(_called(present, _STATES)), None),
    )


def _later(path: str) -> bool:
    """Whether it is what followed a step (robomimic's `next_obs`): a step off the actions, it is taken only by name."""
    return any(part.startswith("next_") for part in path.replace(".", "/").split("/"))


def _one(where: str, name: str, found: list[str], present: list[str]) -> str:
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError(
            f"{where} holds {_list(present)}, of which none looks like {name}: {_how(name, 'PATH')}"
        )
    raise UserError(f"{where} holds several {name} ({_list(found)}): {_how(name, found[0])}")


def _how(name: str, path: str) -> str:
    return f"name one with --names.{name} {shlex.quote(path)} (in Python: names={{{name!r}: {path!r}}})"


def _called(present: list[str], names: tuple[str, ...]) -> list[str]:
    """Paths whose last part is one of `names`, in the order of these, shortest first."""
    found = [path for path in present if path.rsplit("/", 1)[-1] in names]
    return sorted(found, key=lambda path: (names.index(path.rsplit("/", 1)[-1]), len(path)))


def _list(paths: list[str]) -> str:
    shown = ", ".join(paths[:12]) or "no arrays"
    return shown + (f" and {len(paths) - 12} more" if len(paths) > 12 else "")

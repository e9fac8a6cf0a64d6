"""Which arrays of an episode are frames, actions and state: as the user names them, else by what they look like."""

import difflib
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from openjepa.errors import UserError
from openjepa.worlds.cameras import ONLY, Cameras

NAMES = ("frames", "actions", "state", "lengths", "offsets")
"""Fields that a user may name."""
_CAMERA_ENDINGS = ("", "_image", "_images", "_rgb", "_color")
"""Ends of an array's name that a camera's name may leave out."""
_ACTIONS = ("actions", "action")
_STATES = ("state", "states", "proprio", "qpos", "observation.state", "observation")


@dataclass(frozen=True)
class Asked:
    """What the user asks for of a set.

    Attributes:
        names: what the set calls things, by `NAMES`.
        cameras: whose pictures a frame holds.
        size: side of a frame in pixels; `None`: as it is.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    cameras: Cameras = ONLY
    size: int | None = None


@dataclass(frozen=True)
class Fields:
    """Paths within an episode: of the frames of each camera, the actions, and the state where there is one."""

    frames: tuple[str, ...]
    actions: str
    state: str | None = None


def find_fields(where: str, present: Iterable[str], pictures: Iterable[str], asked: Asked) -> Fields:
    """The arrays to read.

    Args:
        where: the file or folder, for messages.
        present: paths of all arrays of an episode.
        pictures: those that can be frames.

    Raises:
        UserError: an unknown name, a path or a camera that is not there, no frames or no actions, or several that may
            be meant.
    """
    present, pictures, names = sorted(present), sorted(pictures), asked.names
    for name, path in names.items():
        if name not in NAMES:
            close = difflib.get_close_matches(name, NAMES, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f": use {', '.join(NAMES)}"
            raise UserError(f"names has the unknown key {name!r}{hint}")
        if name in ("frames", "actions", "state") and path not in present:
            raise UserError(f"{where} has no {path!r}, which is to be its {name}: it holds {_list(present)}")
    cameras = find_cameras(where, pictures, asked)
    present = [path for path in present if not _later(path)]
    return Fields(
        cameras,
        names.get("actions") or _one(where, "actions", _called(present, _ACTIONS), present),
        names.get("state") or next(iter(_called(present, _STATES)), None),
    )


def find_cameras(where: str, pictures: Iterable[str], asked: Asked) -> tuple[str, ...]:
    """The paths of the pictures of each camera that is asked for; of the only one where none is named.

    A camera is named by its whole path, or by the path's last part, whose ending `_image` or `_rgb` may be left out.

    Raises:
        UserError: a camera that is not there, several that may be meant, or a camera beside `names.frames`.
    """
    every, wanted, named = sorted(pictures), asked.cameras.names, asked.names.get("frames")
    shown = [path for path in every if not _later(path)]
    if named is not None:
        if wanted:
            raise UserError(
                f"names.frames {named!r} and signal.camera {_list(list(wanted))} both say what a frame is: give one of "
                "them"
            )
        return (named,)
    if wanted:
        return tuple(_camera(where, name, every, shown) for name in wanted)
    if len(shown) == 1:
        return (shown[0],)
    if not shown:
        raise UserError(
            f"{where} holds no pictures that can be frames: name them with --names.frames PATH when training "
            "(in Python: names={'frames': 'PATH'})"
        )
    short = shlex.quote(_short(shown[0]))
    raise UserError(
        f"{where} has several cameras ({_list(shown)}): name one with --signal.camera {short}, or several with "
        f"--signal.camera '[{_short(shown[0])}, {_short(shown[1])}]', when training (in Python: camera=[...])"
    )


def _camera(where: str, name: str, every: list[str], shown: list[str]) -> str:
    if name in every:
        return name
    found = [path for path in shown if _last(path) in {name + ending for ending in _CAMERA_ENDINGS}]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{where}: the camera {name!r} may be {_list(found)}: give the whole path")
    close = difflib.get_close_matches(name, [_short(path) for path in shown], n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise UserError(f"{where} has no camera {name!r}: it has {_list(shown, 'no cameras')}{hint}")


def _short(path: str) -> str:
    """What a camera may be called."""
    return re.sub(f"({'|'.join(_CAMERA_ENDINGS[1:])})$", "", _last(path))


def _last(path: str) -> str:
    """The last part of a path, at `/` or `.`."""
    return re.split(r"[/.]", path)[-1]


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
    option = f"--names.{name} {shlex.quote(path)}"
    return f"name one with {option} when training (in Python: names={{{name!r}: {path!r}}})"


def _called(present: list[str], names: tuple[str, ...]) -> list[str]:
    """Paths whose last part is one of `names`, in the order of these, shortest first."""
    found = [path for path in present if path.rsplit("/", 1)[-1] in names]
    return sorted(found, key=lambda path: (names.index(path.rsplit("/", 1)[-1]), len(path)))


def _list(paths: list[str], none: str = "no arrays") -> str:
    shown = ", ".join(paths[:12]) or none
    return shown + (f" and {len(paths) - 12} more" if len(paths) > 12 else "")

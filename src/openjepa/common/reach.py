"""How far files reach: what data or a saved file names lies in its own folder, is an ordinary file, and is bounded."""

import json
import os
import stat
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from openjepa.errors import UserError

M = TypeVar("M", bound=BaseModel)

FOLLOW_LINKS = "OPENJEPA_FOLLOW_LINKS"
"""Environment variable: with `1`, symbolic links in a data folder may lead out of it."""
JSON_BYTES, JSON_DEPTH = 2**26, 64
"""The largest JSON file that is read, and the deepest nesting in it."""


def inside(root: str | Path, name: str | Path, limit: int | None = None) -> Path:
    """The ordinary file in the folder `root` that `name` means, resolved.

    Every path that data or a saved file names goes through here, and so do files found in a data folder, because of
    links. A file that the user names goes through `regular`.

    Args:
        root: the folder that the user has named; it may be a link itself.
        name: relative to `root`.
        limit: the largest size, in bytes.

    Raises:
        UserError: the path or a link leads out of the folder; or see `regular`.
    """
    root, named = Path(root), os.fspath(name)
    if "\0" in named or os.path.relpath(root / named, root).split(os.sep)[0] == os.pardir:
        raise UserError(f"{root}: the path {named!r} leads out of the folder: copy the file into it")
    try:
        found, top = (root / named).resolve(strict=True), root.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise UserError(f"{root / named} cannot be read ({_said(error)})") from None
    if not found.is_relative_to(top) and os.environ.get(FOLLOW_LINKS) != "1":
        raise UserError(
            f"{root / named} is a link that leads out of {root}: copy the file into it, or set {FOLLOW_LINKS}=1"
        )
    return regular(found, limit)


def regular(path: str | Path, limit: int | None = None) -> Path:
    """The path itself, of an ordinary file of at most `limit` bytes.

    Raises:
        UserError: nothing is there, it is a folder, a pipe or a device, or it is larger.
    """
    path = Path(path)
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({_said(error)})") from None
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
        raise UserError(f"{path} is {what}: give an ordinary file")
    if limit is not None and status.st_size > limit:
        raise UserError(f"{path} has {status.st_size:,} bytes, and at most {limit:,} are read")
    return path


def read_json(path: str | Path, limit: int = JSON_BYTES) -> Any:
    """What a JSON file holds.

    Raises:
        UserError: see `regular` and `parse_json`.
    """
    path = regular(path, limit)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is truncated or not JSON ({_said(error)})") from None
    return parse_json(text, str(path))


def parse_json(text: str, where: str) -> Any:
    """What a JSON text holds; `where` it stands, for messages.

    Raises:
        UserError: not JSON, or nested deeper than `JSON_DEPTH`.
    """
    deep = f"{where} is nested deeper than {JSON_DEPTH} levels, which no file of this kind is: restore it"
    try:
        data = json.loads(text)
    except RecursionError:
        raise UserError(deep) from None
    except ValueError as error:
        raise UserError(f"{where} is truncated or not JSON ({_said(error)})") from None
    level = [data]
    for _ in range(JSON_DEPTH):
        level = [child for node in level for child in _children(node)]
    if level:
        raise UserError(deep)
    return data


def _children(node: Any) -> list[Any]:
    return list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []


def _said(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def fitting(kind: type[M], data: Any, where: str) -> M:
    """What a file holds, as the model says.

    Raises:
        UserError: of another type or out of bounds; the first mistake, by its place.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        given = repr(first.get("input"))
        given = given if len(given) <= 60 else given[:57] + "..."
        raise UserError(
            f"{where}: {place or 'its content'} cannot be {given} ({first['msg']}): restore the file"
        ) from None

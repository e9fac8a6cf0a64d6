"""Episodes from HDF5 files (extra `worlds`): Minari's layout, and plain files of many kinds.

Where a file keeps its episodes:

- a group each: Minari (`episode_0`), robomimic (`data/demo_0`);
- flat arrays of all episodes' rows, with `ep_len` (and `ep_offset`): LeWM and stable-worldmodel;
- a file each: ALOHA (`episode_0.hdf5` with `action` and `observations/...`).

What its arrays are called is given by `names`, paths within an episode's group, e.g. `{"frames": "obs/front_image",
"actions": "actions", "state": "obs/joints"}`, for flat files also `lengths` and `offsets`; what is not given is looked
for.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openjepa.errors import UserError
from openjepa.signals.images import Skipped
from openjepa.signals.images.decode import BROKEN
from openjepa.worlds.cameras import Cameras, joined
from openjepa.worlds.fields import Asked, Fields, find_fields
from openjepa.worlds.hdf5_source import Hdf5Source, RowRange
from openjepa.worlds.pictures import ENCODED, looks_like_pictures
from openjepa.worlds.records import EPISODES, STEPS, EpisodeSource, Progress, Raw, first_line, nothing
from openjepa.worlds.truncated import (
    intact,
    locate,
    lost_bytes,
    open_hdf5,
    require_filters,
    require_plausible,
)

_MISSES = 1000  # numbers in a row without an episode, after which the search in a damaged file ends
_DEPTH = 8  # of groups in an episode's
_NUMBERED = ("episode_{}", "data/demo_{}")
_NUMBER = re.compile(r"(episode|data/demo)_[0-9]{1,18}")


def read_files(
    name: str,
    files: Sequence[Path],
    asked: Asked,
    expected: int | None = None,
    progress: Progress | None = None,
) -> tuple[list[Raw], EpisodeSource, list[Skipped], Cameras]:
    """Every episode of some HDF5 files.

    Args:
        name: of the whole, for messages.
        files: each with one or many episodes.
        asked: names as above, cameras, size.
        expected: how many episodes there should be, where that is known, so that missing ones can be named.
        progress: called for every file and episode.

    Returns:
        episodes, their frames, what was left out, and the cameras with the value of white.

    Raises:
        UserError: h5py is missing, it is not clear which array is which, or no episode can be read.
    """
    names = asked.names
    found: list[Raw] = []
    kept: list[RowRange] = []
    skipped: list[Skipped] = []
    fields: Fields | None = None
    for number, path in enumerate(files):
        try:
            file, size = open_hdf5(path), path.stat().st_size
        except UserError as error:
            if len(files) == 1:
                raise
            skipped.append(Skipped(path.name, str(error)))
            continue
        with file:
            size = size if lost_bytes(path) else None
            try:
                places = _places(file, path, names, expected if len(files) == 1 else None, len(files) > 1)
            except UserError:
                raise
            except BROKEN as error:
                skipped.append(Skipped(path.name, _why(error, size)))
                continue
            for i, place in enumerate(places):
                try:
                    group = locate(file, place.group)
                    fields = fields or _fields(name, group, asked)
                    found.append(_read(group, place, fields, size))
                    kept.append(place)
                except UserError:
                    raise
                except BROKEN as error:
                    skipped.append(Skipped(place.name, _why(error, size)))
                if progress is not None:
                    parts = (i + 1, len(places)) if len(files) == 1 else (number + 1, len(files))
                    progress("opening episodes", *parts)
        if expected is not None and len(files) == 1 and len(places) < expected:
            skipped.append(Skipped(f"{expected - len(places):,} more episodes", "the file has them not"))
    if fields is None or not found:
        raise nothing(name, skipped)
    sources = [Hdf5Source(kept, path, asked.cameras.white) for path in fields.frames]
    for source in sources:
        source.find_white()
    whites = {source.white for source in sources} - {None}
    if len(whites) > 1:
        raise UserError(
            f"{name}: the cameras' frames are floating numbers of two ranges, 0..1 and 0..255: rescale one, or open "
            "them one by one"
        )
    cameras = replace(asked.cameras, white=next(iter(whites), None))
    return found, joined(sources, cameras, asked.size), skipped, cameras


def _places(
    file: Any, path: Path, names: Mapping[str, str], expected: int | None, alone: bool
) -> list[RowRange]:
    lengths = names.get("lengths", "ep_len")
    if lengths in file:
        counts = _whole_numbers(file, lengths)
        offsets = names.get("offsets", "ep_offset")
        firsts = _whole_numbers(file, offsets) if offsets in file else np.cumsum(counts) - counts
        if len(firsts) != len(counts):
            raise ValueError(f"{offsets} has {len(firsts)} numbers, {lengths} {len(counts)}")
        pairs = enumerate(zip(firsts.tolist(), counts.tolist(), strict=True))
        return [RowRange(f"episode {i}", path, "/", first, first + count) for i, (first, count) in pairs]
    groups = _groups(file, expected)
    return [RowRange(group.rsplit("/", 1)[-1], path, group) for group in groups] or [
        RowRange(path.stem if alone else path.name, path)
    ]


def _whole_numbers(file: Any, name: str) -> NDArray[np.int64]:
    """Lengths or offsets of a flat file's episodes. Raises ValueError where they cannot be such."""
    array = locate(file, name)
    if len(array.shape) != 1 or array.dtype.kind not in "iuf" or len(array) > EPISODES:
        raise ValueError(
            f"{name} is {array.dtype} of shape {list(array.shape)}, not a whole number an episode"
        )
    values = array[()]
    if len(values) and not (0 <= values.min() <= values.max() < 2**53):
        raise ValueError(f"{name} has {values.min()} to {values.max()}, not numbers of steps")
    return values.astype(np.int64)


def _groups(file: Any, expected: int | None) -> list[str]:
    """Groups named by number, in the order of these."""
    try:
        parents = {"": file} | ({"data/": locate(file, "data")} if "data" in file else {})
        names = [f"{parent}{name}" for parent, node in parents.items() for name in node]
        numbered = [n for n in names if _NUMBER.fullmatch(n)]
        listed = sorted(numbered, key=lambda name: int(name.rsplit("_", 1)[-1]))
        if expected is None or len(listed) >= expected:
            return listed
    except UserError:
        raise
    except BROKEN:
        pass
    return _search(file, expected)


def _search(file: Any, expected: int | None) -> list[str]:
    """Groups of a file whose list of groups is damaged; those of `expected` also where they are not there."""
    found: list[str] = []
    for pattern in _NUMBERED[:1] if expected is not None else _NUMBERED:
        i = last = 0
        while i - last <= _MISSES and i < (EPISODES if expected is None else expected):
            there = _there(file, pattern.format(i))
            if there or expected is not None:
                found.append(pattern.format(i))
            last = i if there else last
            i += 1
    return found


def _there(file: Any, group: str) -> bool:
    try:
        locate(file, group)
    except UserError:
        raise
    except BROKEN:
        return False
    return True


def _fields(where: str, group: Any, asked: Asked) -> Fields:
    arrays: dict[str, Any] = {}

    def walk(node: Any, prefix: str, depth: int) -> None:
        for key in node:
            child = locate(node, key)
            if hasattr(child, "shape"):
                arrays[prefix + key] = child
            elif hasattr(child, "keys") and depth < _DEPTH:
                walk(child, f"{prefix}{key}/", depth + 1)

    walk(group, "", 0)
    require_filters(where, arrays)
    return find_fields(where, arrays, [path for path, array in arrays.items() if _pictures(array)], asked)


def _pictures(array: Any) -> bool:
    """Frames as an array, or each as the bytes of an image file."""
    encoded = (array.dtype == np.uint8 and array.ndim == 2) or (array.dtype.kind == "O" and array.ndim == 1)
    if encoded and len(array):
        first = array[0]
        return hasattr(first, "tobytes") and first.tobytes().startswith(ENCODED)
    return looks_like_pictures(array.shape, array.dtype)


def _read(group: Any, place: RowRange, fields: Fields, size: int | None) -> Raw:
    """One episode's numbers.

    Raises:
        One of `BROKEN`: something is missing or does not fit.
    """
    paths = {"actions": fields.actions} | ({} if fields.state is None else {"state": fields.state})
    arrays = {key: locate(group, path) for key, path in paths.items()}
    pictures = {f"frames {path}": locate(group, path) for path in fields.frames}
    for name, array in (arrays | pictures).items():
        if len(array.shape) == 0 or len(array) > STEPS * (1 if place.stop is None else EPISODES):
            raise ValueError(
                f"its {name} have the shape {list(array.shape)}: at most {STEPS:,} steps are read"
            )
    lengths = [len(array) for array in pictures.values()]
    if len(set(lengths)) > 1:
        said = ", ".join(f"{path} {length}" for path, length in zip(fields.frames, lengths, strict=True))
        raise ValueError(f"its cameras have unequally many frames: {said}")
    stop = place.stop if place.stop is not None else lengths[0]
    if stop - place.first > STEPS or stop > lengths[0]:
        raise ValueError(f"it is to be frames {place.first} to {stop} of {lengths[0]}")
    for name in ("actions", "state"):
        if name in arrays:
            require_plausible(arrays[name])
    if size is not None and not all(
        intact(array, place.first, min(stop, len(array)), size)
        for array in (*arrays.values(), *pictures.values())
    ):
        raise ValueError("it lies beyond the end of the file")
    actions, frames = arrays["actions"][place.first : place.stop], stop - place.first
    state = arrays["state"][place.first : place.stop] if "state" in arrays else None
    return Raw(place.name, frames, actions, state)


def _why(error: BaseException, size: int | None) -> str:
    text = first_line(error)
    return f"the file is truncated ({text})" if size is not None else text

"""Episodes from HDF5 files (extra `worlds`): Minari's layout, and plain files of many kinds.

Where a file keeps its episodes:

- a group each: Minari (`episode_0`), robomimic (`data/demo_0`);
- flat arrays of all episodes' rows, with `ep_len` (and `ep_offset`): LeWM and stable-worldmodel;
- a file each: ALOHA (`episode_0.hdf5` with `action` and `observations/...`).

What its arrays are called is given by `names`, paths within an episode's group, e.g. `{"frames": "obs/front_image",
"actions": "actions", "state": "obs/joints"}`, for flat files also `lengths` and `offsets`; what is not given is looked
for.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from openjepa.errors import UserError
from openjepa.signals.images import Skipped
from openjepa.signals.images.decode import BROKEN
from openjepa.worlds.fields import Fields, find_fields
from openjepa.worlds.hdf5_source import Hdf5Source, Place
from openjepa.worlds.pictures import ENCODED, looks_like_pictures
from openjepa.worlds.records import Progress, Raw, first_line, nothing
from openjepa.worlds.truncated import intact, lost_bytes, open_hdf5, require_filters

_MISSES = 100  # numbers in a row without an episode, after which the search in a damaged file ends
_NUMBERED = ("episode_{}", "data/demo_{}")


def read_files(
    name: str,
    files: Sequence[Path],
    names: Mapping[str, str],
    expected: int | None = None,
    progress: Progress | None = None,
) -> tuple[list[Raw], Hdf5Source, list[Skipped]]:
    """Every episode of some HDF5 files.

    Args:
        name: of the whole, for messages.
        files: each with one or many episodes.
        names: see above.
        expected: how many episodes there should be, where that is known, so that missing ones can be named.
        progress: told of every file and episode.

    Raises:
        UserError: h5py is missing, the arrays cannot be told apart, or no episode can be read.
    """
    found: list[Raw] = []
    kept: list[Place] = []
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
            places = list(_places(file, path, names, expected if len(files) == 1 else None, len(files) > 1))
            for i, place in enumerate(places):
                try:
                    fields = fields or _fields(name, file[place.group], names)
                    found.append(_read(file[place.group], place, fields, size))
                    kept.append(place)
                except UserError:
                    raise
                except BROKEN as error:
                    skipped.append(Skipped(place.name, _why(error, size)))
                if progress is not None:
                    parts = (i + 1, len(places)) if len(files) == 1 else (number + 1, len(files))
                    progress("opening episodes", *parts)
    if fields is None or not found:
        raise nothing(name, skipped)
    return found, Hdf5Source(kept, fields.frames), skipped


def _places(
    file: Any, path: Path, names: Mapping[str, str], expected: int | None, alone: bool
) -> Iterator[Place]:
    lengths = names.get("lengths", "ep_len")
    if lengths in file:
        counts = file[lengths][()].astype(np.int64)
        offsets = names.get("offsets", "ep_offset")
        firsts = file[offsets][()].astype(np.int64) if offsets in file else np.cumsum(counts) - counts
        for i, (first, count) in enumerate(zip(firsts.tolist(), counts.tolist(), strict=True)):
            yield Place(f"episode {i}", path, "/", first, first + count)
        return
    groups = _groups(file, expected)
    yield from (Place(group.rsplit("/", 1)[-1], path, group) for group in groups)
    if not groups:
        yield Place(path.stem if alone else path.name, path)


def _groups(file: Any, expected: int | None) -> list[str]:
    """Groups named by number, in the order of these."""
    try:
        names = [
            f"{parent}{name}"
            for parent, node in (("", file), ("data/", file.get("data")))
            for name in node or ()
        ]
        numbered = [
            n
            for n in names
            if n.rsplit("_", 1)[-1].isdigit() and n.rsplit("_", 1)[0] in ("episode", "data/demo")
        ]
        listed = sorted(numbered, key=lambda name: int(name.rsplit("_", 1)[-1]))
        if expected is None or len(listed) >= expected:
            return listed
    except BROKEN:
        pass
    return _search(file, expected)


def _search(file: Any, expected: int | None) -> list[str]:
    """Groups of a file whose list of groups is damaged; every one of `expected`, whether it is there or not."""
    if expected is not None:
        return [f"episode_{i}" for i in range(expected)]
    found: list[str] = []
    for pattern in _NUMBERED:
        i = last = 0
        while i - last <= _MISSES:
            try:
                file[pattern.format(i)]
                found.append(pattern.format(i))
                last = i
            except BROKEN:
                pass
            i += 1
    return found


def _fields(where: str, group: Any, names: Mapping[str, str]) -> Fields:
    arrays: dict[str, Any] = {}

    def walk(node: Any, prefix: str) -> None:
        for key, child in node.items():
            if hasattr(child, "shape"):
                arrays[prefix + key] = child
            else:
                walk(child, f"{prefix}{key}/")

    walk(group, "")
    require_filters(where, arrays)
    return find_fields(where, arrays, [path for path, array in arrays.items() if _pictures(array)], names)


def _pictures(array: Any) -> bool:
    """Frames as an array, or each as the bytes of an image file."""
    encoded = (array.dtype == np.uint8 and array.ndim == 2) or (array.dtype.kind == "O" and array.ndim == 1)
    if encoded and len(array):
        first = array[0]
        return hasattr(first, "tobytes") and first.tobytes().startswith(ENCODED)
    return looks_like_pictures(array.shape, array.dtype)


def _read(group: Any, place: Place, fields: Fields, size: int | None) -> Raw:
    """One episode's numbers.

    Raises:
        One of `BROKEN`: something is missing or does not fit.
    """
    arrays = {key: group[path] for key, path in vars(fields).items() if path is not None}
    stop = place.stop if place.stop is not None else len(arrays["frames"])
    if size is not None and not all(
        intact(array, place.first, min(stop, len(array)), size) for array in arrays.values()
    ):
        raise ValueError("it lies beyond the end of the file")
    actions, frames = arrays["actions"][place.first : place.stop], stop - place.first
    state = arrays["state"][place.first : place.stop] if "state" in arrays else None
    return Raw(place.name, frames, actions, state)


def _why(error: BaseException, size: int | None) -> str:
    text = first_line(error)
    return f"the file is truncated ({text})" if size is not None else text

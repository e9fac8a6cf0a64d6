"""LeRobot's folders, versions 2.0 to 3 (extra `parquet`): `meta/info.json` and `data/*/*.parquet`.

A row is a time step: `action`, `observation.state` and one PNG or JPEG a camera. Frames that are stored as videos are
not decoded.
"""

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from openjepa.common.reach import fitting, inside, read_json
from openjepa.errors import UserError
from openjepa.signals.images import Skipped
from openjepa.signals.images.decode import BROKEN
from openjepa.worlds.fields import Fields, find_fields
from openjepa.worlds.pictures import PICTURE_BYTES, Pixels, from_encoded
from openjepa.worlds.records import (
    EPISODES,
    STEPS,
    EpisodeRecording,
    Progress,
    Raw,
    absent,
    first_line,
    settle,
)

INFO = "meta/info.json"
_HELD = 4  # row groups of encoded images that a process keeps


class _Feature(BaseModel):
    dtype: str | None = None
    names: Any = None


class _Info(BaseModel):
    """The part of `meta/info.json` that is read."""

    features: dict[str, _Feature]
    total_episodes: int = Field(0, ge=0, le=EPISODES)
    robot_type: str | None = None
    fps: float | None = None
    codebase_version: str | None = None


@dataclass(frozen=True)
class FileRows:
    """The place of an episode: rows from `first` on of a file."""

    file: Path
    first: int


class ParquetSource:
    """Encoded images in parquet files, as `EpisodeSource`."""

    def __init__(self, root: Path, places: Sequence[FileRows], column: str) -> None:
        self._root, self._places, self._column = root, list(places), column
        self._groups: OrderedDict[tuple[int, Path, int], Any] = OrderedDict()

    @property
    def files(self) -> list[Path]:
        """Each once, in order."""
        return list(dict.fromkeys(place.file for place in self._places))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_groups": OrderedDict()}

    def frames(self, number: int, first: int, stop: int) -> Pixels:
        place = self._places[number]
        images = self._images(place.file, place.first + first, place.first + stop)
        return from_encoded([self._bytes(image) for image in images])

    def info(self, number: int) -> dict[str, Any]:
        return {}

    def _images(self, path: Path, first: int, stop: int) -> Iterator[Any]:
        """Rows `first` to `stop - 1` of a file."""
        with _parquet(path).ParquetFile(path, memory_map=True) as file:
            begin = 0
            for group in range(file.num_row_groups):
                end = begin + file.metadata.row_group(group).num_rows
                if first < end and begin < stop:
                    column = self._group(file, path, group)
                    yield from column.slice(
                        max(first - begin, 0), min(stop, end) - max(first, begin)
                    ).to_pylist()
                begin = end

    def _group(self, file: Any, path: Path, group: int) -> Any:
        key = os.getpid(), path, group
        if key not in self._groups:
            self._groups[key] = file.read_row_group(group, columns=[self._column]).column(0)
            if len(self._groups) > _HELD:
                self._groups.popitem(last=False)
        self._groups.move_to_end(key)
        return self._groups[key]

    def _bytes(self, image: Any) -> bytes:
        """Bytes of the image itself, or of the file in the folder that it names."""
        if isinstance(image, Mapping):
            return image["bytes"] or inside(self._root, image["path"], PICTURE_BYTES).read_bytes()
        return image


def open_lerobot(folder: Path, names: Mapping[str, str], progress: Progress | None) -> EpisodeRecording:
    """Episodes of a folder that holds `meta/info.json`.

    Raises:
        UserError: pyarrow is missing, frames are videos, there are several cameras and none is named, or nothing can
            be read.
    """
    info = fitting(_Info, read_json(inside(folder, INFO)), str(folder / INFO))
    files = sorted((folder / "data").glob("**/*.parquet"))
    _parquet(folder)
    fields = _fields(folder, info.features, names)
    found: list[Raw] = []
    places: list[FileRows] = []
    skipped: list[Skipped] = []
    seen: set[int] = set()
    for i, path in enumerate(files):
        try:
            file = inside(folder, path.relative_to(folder))
            for number, raw, place in _read(file, fields):
                seen.add(number)
                found.append(raw)
                places.append(place)
        except BROKEN as error:
            skipped.append(Skipped(path.relative_to(folder).as_posix(), first_line(error)))
        if progress is not None:
            progress("opening episodes", i + 1, len(files))
    skipped += absent(seen, info.total_episodes)
    state = None if fields.state is None else info.features[fields.state].names
    return settle(
        str(folder),
        found,
        ParquetSource(folder, places, fields.frames),
        skipped,
        variables=tuple(_flat(state)),
        about=info.model_dump(include={"robot_type", "fps", "codebase_version"}, exclude_none=True),
    )


def _fields(folder: Path, features: Mapping[str, _Feature], names: Mapping[str, str]) -> Fields:
    kinds = {key: feature.dtype for key, feature in features.items()}
    pictures = [key for key, kind in kinds.items() if kind == "image"]
    videos = [key for key, kind in kinds.items() if kind == "video"]
    if names.get("frames") in videos or (videos and not pictures and "frames" not in names):
        raise UserError(
            f"{folder} keeps its frames as videos ({', '.join(videos)}), which are not decoded here: record it with "
            "use_videos=False, or write its frames as images"
        )
    return find_fields(str(folder), set(kinds) - set(videos), pictures, names)


def _read(path: Path, fields: Fields) -> Iterator[tuple[int, Raw, FileRows]]:
    """Number, contents and place of every episode in a file.

    Raises:
        One of `BROKEN`: the file is damaged.
    """
    wanted = [fields.actions, "episode_index", "frame_index", *([fields.state] if fields.state else [])]
    with _parquet(path).ParquetFile(path) as file:
        if file.metadata.num_rows > STEPS:
            raise ValueError(f"it claims {file.metadata.num_rows:,} rows: at most {STEPS:,} are read")
        table = file.read(columns=wanted)
    columns = {name: _array(table.column(name)) for name in wanted}
    episode, frame = columns["episode_index"].ravel(), columns["frame_index"].ravel()
    if episode.dtype.kind not in "iu" or frame.dtype.kind not in "iu" or not len(episode) == len(frame) > 0:
        raise ValueError("its episode_index and frame_index are no whole numbers, one a row")
    ends = [*(np.flatnonzero(np.diff(episode)) + 1).tolist(), len(episode)]
    for first, stop in zip([0, *ends], ends, strict=False):
        number = int(episode[first])
        if (np.diff(frame[first:stop]) != 1).any():
            raise ValueError(f"episode {number} lacks frames, or they are not in order")
        state = None if fields.state is None else columns[fields.state][first:stop]
        actions = columns[fields.actions][first:stop]
        yield number, Raw(f"episode {number}", stop - first, actions, state), FileRows(path, first)


def _array(column: Any) -> NDArray:
    """`[N]` of numbers, `[N, ...]` of lists of one length."""
    values = column.combine_chunks().to_numpy(zero_copy_only=False)
    return np.stack(values) if values.dtype == object else values


def _flat(names: Any) -> Iterator[str]:
    """LeRobot names what a vector holds by a list, or by a dict of lists, or not at all."""
    if isinstance(names, Mapping | list):
        for part in names.values() if isinstance(names, Mapping) else names:
            yield from _flat(part)
    elif names is not None:
        yield str(names)


def _parquet(path: Path) -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise UserError(
            f"{path} holds parquet files, which need pyarrow: pip install 'openjepa[parquet]'"
        ) from None
    return pyarrow.parquet

"""LeRobot's folders, versions 2.0 to 3 (extra `parquet`): `meta/info.json` and `data/*/*.parquet`.

A row is a time step: `action`, `observation.state` and one PNG or JPEG a camera. Or a camera's frames are films (extra
`video`): one an episode, or from version 3 on several episodes in one; `meta/episodes` tells where each begins.
"""

import os
import re
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
from openjepa.signals.video.decode import library
from openjepa.worlds.cameras import joined
from openjepa.worlds.fields import Asked, Fields, find_fields
from openjepa.worlds.films import FilmFinder, FilmSource, FilmSpan
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

INFO, PARTS = "meta/info.json", "meta/episodes"
VIDEO_PATH = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
"""Where films are, if `info.json` does not say it."""
PICTURES = ("image", "video")
"""Kinds of LeRobot's features that are frames."""
_HELD = 4  # row groups of encoded images that a process keeps


class _Feature(BaseModel):
    dtype: str | None = None
    names: Any = None


class _Info(BaseModel):
    """The part of `meta/info.json` that is read."""

    features: dict[str, _Feature]
    total_episodes: int = Field(0, ge=0, le=EPISODES)
    robot_type: str | None = None
    fps: float | None = Field(None, gt=0)
    codebase_version: str | None = None
    chunks_size: int = Field(1000, ge=1)
    video_path: str | None = None


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


def open_lerobot(folder: Path, asked: Asked, progress: Progress | None) -> EpisodeRecording:
    """Episodes of a folder that holds `meta/info.json`.

    An episode is left out where a film of it is missing, damaged, or shorter or longer than its table.

    Raises:
        UserError: pyarrow is missing, or PyAV where frames are films; there are several cameras and none is named, one
            that is not there is named, or nothing can be read.
    """
    info = fitting(_Info, read_json(inside(folder, INFO)), str(folder / INFO))
    files = sorted((folder / "data").glob("**/*.parquet"))
    _parquet(folder)
    fields = _fields(folder, info.features, asked)
    films = {key: _Films(folder, info, key) for key in fields.frames if info.features[key].dtype == "video"}
    found: list[Raw] = []
    places: list[FileRows] = []
    spans: dict[str, list[FilmSpan]] = {key: [] for key in films}
    skipped: list[Skipped] = []
    seen: set[int] = set()
    for i, path in enumerate(files):
        try:
            file = inside(folder, path.relative_to(folder))
            for number, raw, place in _read(file, fields):
                seen.add(number)
                try:
                    filmed = {key: film.span(number, raw.frames) for key, film in films.items()}
                except BROKEN as error:
                    skipped.append(Skipped(raw.name, first_line(error)))
                    continue
                found.append(raw)
                places.append(place)
                for key, span in filmed.items():
                    spans[key].append(span)
        except BROKEN as error:
            skipped.append(Skipped(path.relative_to(folder).as_posix(), first_line(error)))
        if progress is not None:
            progress("opening episodes", i + 1, len(files))
    skipped += absent(seen, info.total_episodes)
    sources = [
        FilmSource(spans[key], asked.size) if key in films else ParquetSource(folder, places, key)
        for key in fields.frames
    ]
    state = None if fields.state is None else info.features[fields.state].names
    return settle(
        str(folder),
        found,
        joined(sources, asked.cameras, asked.size),
        skipped,
        cameras=asked.cameras,
        variables=tuple(_flat(state)),
        about=info.model_dump(include={"robot_type", "fps", "codebase_version"}, exclude_none=True),
    )


def _fields(folder: Path, features: Mapping[str, _Feature], asked: Asked) -> Fields:
    kinds = {key: feature.dtype for key, feature in features.items()}
    return find_fields(str(folder), kinds, [key for key, kind in kinds.items() if kind in PICTURES], asked)


class _Films:
    """The films of one camera.

    Raises:
        UserError: PyAV is missing, or the list of episodes that version 3 has of them.
    """

    def __init__(self, folder: Path, info: _Info, key: str) -> None:
        library()
        self._folder, self._info, self._key, self._finder = folder, info, key, FilmFinder()
        self._path = info.video_path or VIDEO_PATH
        self._listed = _listed(folder, key) if "{file_index" in self._path else None

    def span(self, number: int, rows: int) -> FilmSpan:
        """The film of episode `number`, whose table has so many rows; raises one of `BROKEN`."""
        given: dict[str, int | str] = {"video_key": self._key, "episode_index": number}
        begin, rate = 0.0, self._info.fps
        if self._listed is None:
            given["episode_chunk"] = number // self._info.chunks_size
        elif number in self._listed:
            given["chunk_index"], given["file_index"], begin = self._listed[number]
        else:
            raise ValueError(f"{PARTS} does not tell where its film is")
        file = inside(self._folder, _filled(self._path, given))
        rate = rate or self._finder.header(file).rate
        return self._finder.at(file, begin + np.arange(rows) / rate, whole=self._listed is None)


def _filled(template: str, values: Mapping[str, int | str]) -> str:
    """A path of `info.json` with numbers in the places of `{name}` and `{name:03d}`; nothing else is done with it."""

    def put(found: re.Match[str]) -> str:
        name, width = found.groups()
        if name not in values:
            raise ValueError(f"{INFO}: video_path names {name!r}, which is not known")
        return str(values[name]).zfill(int(width or 0))

    return re.sub(r"{(\w+)(?::0(\d)d)?}", put, template)


def _listed(folder: Path, key: str) -> dict[int, tuple[int, int, float]]:
    """By episode: chunk and number of the film's file, and the second at which the episode begins in it.

    Raises:
        UserError: the list is missing or damaged.
    """
    files = sorted((folder / PARTS).glob("**/*.parquet"))
    if not files:
        raise UserError(
            f"{folder} lacks {PARTS}/*.parquet, which tell where each episode begins in the films: copy the whole "
            "folder meta"
        )
    prefix, found = f"videos/{key}/", {}
    wanted = ["episode_index", *(prefix + name for name in ("chunk_index", "file_index", "from_timestamp"))]
    for path in files:
        try:
            with _parquet(path).ParquetFile(inside(folder, path.relative_to(folder))) as file:
                if file.metadata.num_rows > EPISODES:
                    raise ValueError(f"it claims {file.metadata.num_rows:,} rows")
                table = file.read(columns=wanted)
            columns = [table.column(name).to_pylist() for name in wanted]
        except BROKEN as error:
            raise UserError(f"{path} cannot be read ({first_line(error)}): restore the folder meta") from None
        for number, chunk, place, begin in zip(*columns, strict=True):
            if None not in (number, chunk, place, begin):
                found[int(number)] = int(chunk), int(place), float(begin)
    return found


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

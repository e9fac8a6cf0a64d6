"""Folders of films with tables: `NAME.csv`, a row a step, and a film of each camera (extra `video`: PyAV).

The films of `NAME.csv` are `NAME.mp4` beside it; of several cameras `NAME.front.mp4`, `NAME_front.mp4`, or
`front/NAME.mp4` in a folder beside it. A column is named after what it is a number of: `action`, `action_0`,
`action.x` or `action[0]`; `state`, `state_0`, `observation.state.elbow` and so on. With a column `time` or
`timestamp`, in seconds, a row has the frame that the film shows then; times of a clock count from the first. Without
one a film has a frame for each row. An empty cell is a missing number.
"""

import csv
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openjepa.common.reach import inside
from openjepa.errors import UserError
from openjepa.signals.images import Skipped
from openjepa.signals.images.decode import BROKEN
from openjepa.signals.video.decode import SUFFIXES, library
from openjepa.worlds.cameras import joined
from openjepa.worlds.fields import Asked, find_cameras
from openjepa.worlds.films import FilmFinder, FilmSource, FilmSpan
from openjepa.worlds.records import STEPS, WIDTH, EpisodeRecording, Progress, Raw, first_line, settle

ALONE = "camera"
"""Name of a camera whose films are called as the tables are."""
ACTIONS, STATES = ("action", "actions"), ("state", "states", "observation.state", "joints", "qpos")
TIMES = ("time", "timestamp")

Columns = Mapping[str, NDArray[np.float64]]
TableFilms = Mapping[str, Mapping[str, str]]
"""By table: each camera's film. All are relative to the folder."""


def find_films(folder: Path) -> TableFilms:
    """The tables in a folder and below it that have films, and these, in the order of their numbers."""
    names = sorted(_visible(folder), key=_natural)
    tables = {Path(name).with_suffix("").as_posix(): name for name in names if name.lower().endswith(".csv")}
    found: dict[str, dict[str, str]] = {}
    for name in names:
        path = Path(name)
        if path.suffix.lower() not in SUFFIXES:
            continue
        for table, camera in _may_be_of(path):
            if table in tables:
                found.setdefault(tables[table], {})[camera] = name
                break
    return {name: found[name] for name in tables.values() if name in found}


def open_film_folder(
    folder: Path, films: TableFilms, asked: Asked, progress: Progress | None
) -> EpisodeRecording:
    """Episodes of a folder of films with tables.

    An episode is left out where its table or a film of it cannot be read, or where they differ in length.

    Args:
        films: see `find_films`.

    Raises:
        UserError: PyAV is missing, there are several cameras and none is named, one that is not there is named, a
            table without actions, or nothing can be read.
    """
    library()
    cameras = find_cameras(str(folder), {camera for seen in films.values() for camera in seen}, asked)
    finder, variables = FilmFinder(), ()
    found: list[Raw] = []
    spans: list[list[FilmSpan]] = []
    skipped: list[Skipped] = []
    for done, (table, seen) in enumerate(films.items()):
        try:
            columns = _read_table(inside(folder, table))
            actions = _columns_of(
                str(folder / table), columns, "actions", asked.names.get("actions"), ACTIONS
            )
            state = _columns_of(str(folder / table), columns, "state", asked.names.get("state"), STATES)
            of_each = [_span(finder, folder, seen, camera, columns) for camera in cameras]
        except _NoActions:
            raise
        except BROKEN as error:
            skipped.append(Skipped(table, first_line(error)))
        else:
            stacked = None if not state else np.stack([columns[name] for name in state], 1)
            taken = np.stack([columns[name] for name in actions], 1)
            found.append(Raw(table, len(taken), taken, stacked))
            spans.append(of_each)
            variables = variables or tuple(state)
        if progress is not None:
            progress("opening episodes", done + 1, len(films))
    sources = [FilmSource([of_each[i] for of_each in spans], asked.size) for i in range(len(cameras))]
    source = joined(sources, asked.cameras, asked.size)
    return settle(str(folder), found, source, skipped, cameras=asked.cameras, variables=variables)


class _NoActions(UserError):
    """A table without what a world model is conditioned on, or without what the user has named."""


def _visible(folder: Path) -> Iterator[str]:
    """Files in a folder and below it, relative to it; no link is followed into another folder."""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for file in files:
            if not file.startswith("."):
                yield Path(place, file).relative_to(folder).as_posix()


def _may_be_of(film: Path) -> Iterator[tuple[str, str]]:
    """Names of tables that a film may belong to, without their ending, and which camera it is then of."""
    stem = film.with_suffix("")
    yield stem.as_posix(), ALONE
    for mark in ".", "_", "-":
        name, found, camera = stem.name.rpartition(mark)
        if found:
            yield (stem.parent / name).as_posix(), camera
    for above in stem.parents:  # front/NAME.mp4 beside NAME.csv
        if above.name:
            yield (above.parent / stem.relative_to(above)).as_posix(), above.name


def _read_table(path: Path) -> Columns:
    """Every column of numbers, float64; an empty cell is NaN, a column with other texts is left out.

    Raises:
        One of `BROKEN`: no table, rows of unequal length, or too much.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        names = [name.strip() for name in next(rows, [])]
        if len(set(names)) < len(names) or not 1 <= len(names) <= WIDTH:
            raise ValueError("its first row does not name its columns, each once")
        cells: list[list[str]] = []
        for number, row in enumerate(rows, 2):
            if not row:
                continue
            if len(row) != len(names):
                raise ValueError(f"its line {number} has {len(row)} cells, the first {len(names)}")
            if len(cells) == STEPS:
                raise ValueError(f"it has more than {STEPS:,} rows")
            cells.append(row)
    if not cells:
        raise ValueError("it has no rows")
    found = {}
    for name, column in zip(names, zip(*cells, strict=True), strict=True):
        try:
            found[name] = np.array([float(cell) if cell.strip() else np.nan for cell in column])
        except ValueError:
            continue
    return found


def _columns_of(
    where: str, columns: Columns, what: str, named: str | None, usual: Sequence[str]
) -> list[str]:
    """Names of the columns of a quantity: the one called so, or those called so with a number or a name after it.

    Raises:
        _NoActions: none is there, where there must be one.
    """
    for name in [named] if named is not None else usual:
        pattern = re.compile(rf"{re.escape(name)}(?:[._]\w+(?:[._]\w+)*|\[\d+\])")
        found = [column for column in columns if column == name or pattern.fullmatch(column)]
        if found:
            return found
    if named is None and what != "actions":
        return []
    shown = ", ".join(columns)[:200] or "none of numbers"
    wanted = f"{named!r}, which is to be its {what}" if named is not None else "actions"
    raise _NoActions(
        f"{where} has no columns of {wanted}: its columns are {shown}; call them action_0, action_1 and so on, or name "
        f"what they begin with by --names.{what} when training"
    )


def _span(
    finder: FilmFinder, folder: Path, seen: Mapping[str, str], camera: str, columns: Columns
) -> FilmSpan:
    if camera not in seen:
        raise ValueError(f"it has no film of {camera}")
    film, rows = inside(folder, seen[camera]), len(next(iter(columns.values())))
    times = next((columns[name] for name in TIMES if name in columns), None)
    if times is None:
        return finder.each(film, rows)
    length = finder.header(film).frames / finder.header(film).rate
    return finder.at(film, times - times[0] if times[0] > length else times, whole=False)


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts episode_2 before episode_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]

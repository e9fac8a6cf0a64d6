"""Frames of episodes that are kept as films, decoded when asked for (extra `video`: PyAV)."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openjepa.signals.video.decode import FilmHeader, broken, decode_at, frame_times, inspect, said
from openjepa.worlds.pictures import Pixels


@dataclass(frozen=True, eq=False)
class FilmSpan:
    """The place of an episode's frames in a film.

    Attributes:
        times: float64 `[frames]`, rising, seconds since the film's start at which each frame is shown.
    """

    file: Path
    header: FilmHeader
    times: NDArray[np.float64]


class FilmSource:
    """Frames in films, as `records.EpisodeSource`.

    Args:
        size: side of a frame; `None`: the films' own size.
    """

    def __init__(self, spans: Sequence[FilmSpan], size: int | None) -> None:
        self._spans, self._size = list(spans), size

    @property
    def files(self) -> list[Path]:
        """Each once, in order."""
        return list(dict.fromkeys(span.file for span in self._spans))

    def frames(self, number: int, first: int, stop: int) -> Pixels:
        span = self._spans[number]
        header = span.header
        size = (header.height, header.width) if self._size is None else (self._size, self._size)
        with _naming(span.file):
            return decode_at(span.file, span.times[first:stop], size, header.channels, header).numpy()

    def info(self, number: int) -> dict[str, Any]:
        return {}


class FilmFinder:
    """Finds what episodes have of films, each of which is looked into once."""

    def __init__(self) -> None:
        self._headers: dict[Path, FilmHeader] = {}

    def header(self, file: Path) -> FilmHeader:
        """Raises ValueError where it is no readable film."""
        if file not in self._headers:
            with _naming(file):
                self._headers[file] = inspect(file)
        return self._headers[file]

    def each(self, file: Path, rows: int) -> FilmSpan:
        """A film with one frame for each of a table's rows.

        Raises:
            ValueError: another number of frames, or no readable film.
        """
        header = self.header(file)
        with _naming(file):
            times = frame_times(file)
        if len(times) != rows:
            raise ValueError(f"{file.name} has {len(times)} frames, its table {rows} rows")
        return FilmSpan(file, header, times)

    def at(self, file: Path, times: NDArray[np.float64], whole: bool) -> FilmSpan:
        """The frames of a film that are shown at some times.

        Args:
            whole: whether these are all that the film is to have.

        Raises:
            ValueError: times that do not rise, a film that ends before them or, where `whole`, long after them; or no
                readable film.
        """
        header = self.header(file)
        if not np.isfinite(times).all() or (np.diff(times) < 0).any() or times[0] < 0:
            raise ValueError("its times are not seconds that rise from 0")
        step = 1 / header.rate
        last = (header.frames - 1) * step
        table = float(np.median(np.diff(times))) if len(times) > 1 else step
        if times[-1] > last + 0.75 * max(step, table) or (
            whole and last > times[-1] + 1.75 * max(step, table)
        ):
            raise ValueError(
                f"{file.name} has {header.frames} frames to second {last:.2f}, its table {len(times)} rows to second "
                f"{times[-1]:.2f}"
            )
        return FilmSpan(file, header, times)


@contextmanager
def _naming(film: Path) -> Generator[None]:
    """Turns what damage raises into a ValueError that names the film."""
    try:
        yield
    except broken() as error:
        raise ValueError(f"{film.name}: {said(error)}") from None

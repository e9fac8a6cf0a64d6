"""From an encoded film to frames, upright and at the times at which a player shows them (extra `video`: PyAV)."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from openjepa.errors import UserError
from openjepa.signals.images.decode import BROKEN, PIXELS, fit

SUFFIXES = frozenset(
    [
        *(".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts"),
        *(".m2ts", ".flv", ".wmv", ".ogv", ".gif", ".y4m", ".mjpeg"),
    ]
)
"""What files of films are called."""

DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,asf,ogg,gif,yuv4mpegpipe,mjpeg"
)
"""What FFmpeg may read: none of its formats that name other files or addresses (playlists, concat)."""

LATE = 0.25
"""Share of a frame's duration by which it may be stamped later than it is due: time stamps are rounded."""
SHORT = 0.9
"""A film with less than this part of the frames that its header promises is damaged."""
TIMED = ("matroska,webm", "flv")
"""Formats whose header tells how long a film is, and not how many frames it has."""
UNTOLD = 25.0
"""Frames a second of a film that says nothing of its rate."""


@dataclass(frozen=True)
class FilmHeader:
    """What is known of a film before it is decoded.

    Attributes:
        height, width: of the upright picture in square pixels.
        channels: 1 where it is grey, else 3.
        frames: as the header or the packets count them.
        rate: frames a second, on average.
        timed: whether that rate was told, so that seconds mean something.
    """

    height: int
    width: int
    channels: int
    frames: int
    rate: float
    timed: bool = True


def broken() -> tuple[type[BaseException], ...]:
    """What PyAV is known to raise on damaged input."""
    return (*BROKEN, library().error.FFmpegError)


def said(error: BaseException) -> str:
    """Why a file is no readable film, in a few words."""
    if type(error).__name__ in ("InvalidDataError", "ArgumentError"):
        return "not a readable film"
    return str(getattr(error, "strerror", None) or error or repr(error))


def library() -> Any:
    """PyAV.

    Raises:
        UserError: it is not installed.
    """
    try:
        import av
    except ImportError:
        raise UserError("films need PyAV: pip install 'openjepa[video]'") from None
    av.logging.set_level(None)  # FFmpeg tells every damaged block
    return av


class Film:
    """An open film, for use in a `with`.

    Raises:
        One of `broken()`: no film, none of the `DEMUXERS`, or without pictures.
    """

    def __init__(self, file: Path | BinaryIO) -> None:
        self._file = file.open("rb") if isinstance(file, Path) else file
        try:
            self.container = library().open(self._file, options={"format_whitelist": DEMUXERS})
        except BaseException:
            self._file.close()
            raise
        pictures = [s for s in self.container.streams.video if not s.disposition & _COVER]
        if not pictures:
            reason = "it has sound alone" if self.container.streams.audio else "it has no pictures"
            self.__exit__()
            raise ValueError(reason)
        self.stream = pictures[0]
        self.stream.thread_type = "NONE"  # many films are decoded at a time
        self._reformatter = library().video.reformatter.VideoReformatter()  # one a film: it keeps its tables
        told = self.stream.average_rate or self.stream.guessed_rate
        self.rate = float(told) if told else UNTOLD
        self.timed = bool(told)

    def __enter__(self) -> "Film":
        return self

    def __exit__(self, *error: object) -> None:
        self.container.close()
        self._file.close()

    def header(self) -> FilmHeader:
        """Decodes the first frame, since headers do not say all; leaves the film at its beginning.

        Raises:
            ValueError: it has no frames, they are too large, or the file ends before its header says.
        """
        if self.container.format.name == "gif" and not self._closed():
            raise ValueError("cut off: its end is missing")
        count = self.stream.frames or self._packets()
        first = next(self.frames(), None)
        if first is None:
            raise ValueError("it has no frames")
        picture, _ = first
        grey = picture.format.name.startswith("gray")
        sideways = _turns(picture) % 2 == 1
        height, width = picture.height, round(picture.width * self._aspect())
        if height * width > PIXELS:
            raise ValueError(f"{height * width:,} pixels a frame are too many: at most {PIXELS:,}")
        self._rewind()
        if sideways:
            height, width = width, height
        return FilmHeader(height, width, 1 if grey else 3, max(1, count), self.rate, self.timed)

    def frames(self) -> Iterator[tuple[Any, float]]:
        """Frames in the order in which they are shown, from where the film is, with their seconds since its start.

        Raises:
            ValueError: a frame is damaged.
        """
        start, before = self._start(), -1.0 / self.rate
        decoded = self.container.decode(self.stream)
        for number in itertools.count():
            try:
                picture = next(decoded, None)
            except broken() as error:
                if number == 0:
                    raise
                raise ValueError(f"cut off or damaged after {number} frames") from error
            if picture is None:
                return
            if picture.is_corrupt:
                raise ValueError(f"damaged after {number} frames")
            time = picture.time
            at = before + 1 / self.rate if time is None else float(time) - start
            if at <= before:  # films that were joined begin anew
                start, at = start + at - before - 1 / self.rate, before + 1 / self.rate
            before = at
            yield picture, max(0.0, before)

    def pixels(self, picture: Any, size: tuple[int, int], channels: int) -> Tensor:
        """uint8 `[channels, *size]` of one frame: upright, square pixels, the middle of that shape."""
        if picture.width * picture.height > PIXELS:
            raise ValueError(f"{picture.width * picture.height:,} pixels a frame are too many")
        aspect = self._aspect()
        width = picture.width if aspect == 1 else max(1, round(picture.width * aspect))
        kind = "gray" if channels == 1 else "rgb24"
        shown = self._reformatter.reformat(picture, width=width, format=kind, threads=1)
        array = shown.to_ndarray()
        array = array[..., None] if array.ndim == 2 else array
        array = np.rot90(array, _turns(picture))
        return fit(torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1), size)

    def times(self) -> np.ndarray:
        """Seconds since its start at which each frame is due, float64 `[T]`, by the packets; nothing is decoded.

        Raises:
            ValueError: packets without time stamps.
        """
        base, stamps = self.stream.time_base, []
        for packet in self.container.demux(self.stream):
            if packet.size > 0:
                if packet.pts is None or base is None:
                    raise ValueError("its frames have no time stamps")
                stamps.append(float(packet.pts * base))
        self._rewind()
        return np.sort(np.array(stamps, np.float64)) - self._start()

    def seek(self, seconds: float) -> bool:
        """Go to a key frame at or before that time; whether the film can."""
        base = self.stream.time_base
        if base is None:
            return False
        try:
            wanted = int((seconds + self._start()) / float(base))
            self.container.seek(wanted, stream=self.stream)
        except broken():
            return False
        return True

    def _rewind(self) -> None:
        if not self.seek(0.0):
            self.container.seek(0)

    def _start(self) -> float:
        base, start = self.stream.time_base, self.stream.start_time
        return float(start * base) if start and base else 0.0

    def _aspect(self) -> float:
        told = self.stream.sample_aspect_ratio
        return float(told) if told and Fraction(1, 8) <= told <= 8 else 1.0

    def _packets(self) -> int:
        """How many of its packets are pictures, from where the film is; leaves it at its beginning.

        Raises:
            ValueError: the file ends before the time that its header promises.
        """
        count, end = 0, 0.0
        for packet in self.container.demux():
            if packet.size > 0:
                count += packet.stream_index == self.stream.index
                if packet.pts is not None:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        promised = (self.container.duration or 0) / 1e6
        if self.container.format.name in TIMED and end < SHORT * promised:
            raise ValueError(f"cut off: it ends after {end:.1f} s, and its header promises {promised:.1f} s")
        self._rewind()
        return count

    def _closed(self) -> bool:
        """Whether the file ends as a GIF does, with a semicolon; some programs write zeros after it."""
        here = self._file.tell()
        self._file.seek(max(0, self._file.seek(0, 2) - 1024))
        end = self._file.read().rstrip(b"\0\r\n ")
        self._file.seek(here)
        return end.endswith(b";")


_COVER = 0x400  # AV_DISPOSITION_ATTACHED_PIC: the cover of an album


def _turns(picture: Any) -> int:
    """Quarter turns against the clock that bring a frame upright."""
    return round(picture.rotation / 90) % 4


def inspect(file: Path | BinaryIO) -> FilmHeader:
    """What there is to know before decoding.

    Raises:
        One of `broken()`.
    """
    with Film(file) as film:
        return film.header()


def frame_times(file: Path | BinaryIO) -> np.ndarray:
    """Seconds since its start at which each frame is due, float64 `[T]`.

    Raises:
        One of `broken()`.
    """
    with Film(file) as film:
        return film.times()


def decode(
    file: Path | BinaryIO, size: tuple[int, int], channels: int, most: int
) -> tuple[Tensor, np.ndarray]:
    """All frames, uint8 `[T, channels, *size]`, and their seconds since its start, float64 `[T]`.

    Raises:
        One of `broken()`: damage anywhere; or more than `most` frames.
    """
    with Film(file) as film:
        shown, times = [], []
        for picture, at in film.frames():
            if len(shown) == most:
                raise ValueError(f"it has more than the {most} frames that its header promises")
            shown.append(film.pixels(picture, size, channels))
            times.append(at)
    if not shown:
        raise ValueError("it has no frames")
    return torch.stack(shown), np.array(times)


def decode_at(
    file: Path | BinaryIO, at: np.ndarray, size: tuple[int, int], channels: int, header: FilmHeader
) -> Tensor:
    """The frames that are shown at the times `at` (rising), uint8 `[T, channels, *size]`.

    They are those that decoding from the start gives, whichever key frame it begins at. Before its first frame a film
    shows that one, after its end the last.

    Raises:
        One of `broken()`: damage before the last of these times.
    """
    with Film(file) as film:
        wanted = at + LATE / film.rate
        if at[0] > 2.0 and film.seek(float(at[0])):
            try:
                return _pick(film, wanted, size, channels, header)
            except (_NotYet, *broken()):
                pass  # frames after a seek may lean on frames before it: decode all
            film.seek(0.0)
        return _pick(film, wanted, size, channels, header, begun=True)


class _NotYet(Exception):
    """After a seek the first frame is later than wanted."""


def _pick(
    film: Film,
    wanted: np.ndarray,
    size: tuple[int, int],
    channels: int,
    header: FilmHeader,
    begun: bool = False,
) -> Tensor:
    found: list[Tensor] = []
    before: Any = None
    last = 0.0
    for picture, last in film.frames():
        if before is None and not begun and last > wanted[0]:
            raise _NotYet
        while before is not None and len(found) < len(wanted) and wanted[len(found)] < last:
            found.append(before if isinstance(before, Tensor) else film.pixels(before, size, channels))
            before = found[-1]
        if len(found) == len(wanted):
            break
        before = picture
    if before is None:
        raise ValueError("it has no frames")
    if len(found) < len(wanted) and (last * film.rate + 1) < SHORT * header.frames:
        raise ValueError(f"it ends after {last:.1f} s, and its header promises {header.frames} frames")
    while len(found) < len(wanted):
        found.append(before if isinstance(before, Tensor) else film.pixels(before, size, channels))
        before = found[-1]
    return torch.stack(found)

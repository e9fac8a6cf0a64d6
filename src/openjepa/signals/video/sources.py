"""Films from files, from tar shards, from folders of frames and from arrays."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from openjepa.common.contents import Contents, of_array, of_files
from openjepa.common.reach import regular
from openjepa.errors import UserError
from openjepa.signals.images.arrays import channel_axis, to_pixels
from openjepa.signals.images.decode import decode as decode_image
from openjepa.signals.images.decode import fit, recolour
from openjepa.signals.images.decode import inspect as inspect_image
from openjepa.signals.readers.folders import FolderFiles, Listing, Names, list_folder
from openjepa.signals.readers.shards import TarFiles, Wanted, read_shards
from openjepa.signals.readers.skipped import Skipped
from openjepa.signals.video.clips import ClipCut, ClipSet, build
from openjepa.signals.video.decode import LATE, SUFFIXES, FilmHeader, decode, decode_at, inspect, library

SHARDED = Wanted(SUFFIXES, "a film", "films")
FRAMES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm"})
"""What single frames are called."""


class EncodedClips:
    """Encoded films; a subclass says where each one's bytes are."""

    labels: np.ndarray | None
    threaded = True

    def file(self, row: int) -> Path | BinaryIO:
        raise NotImplementedError

    def inspect(self, row: int) -> FilmHeader:
        return inspect(self.file(row))

    def decode(self, row: int, size: tuple[int, int], channels: int, most: int) -> tuple[Tensor, np.ndarray]:
        return decode(self.file(row), size, channels, most)

    def decode_at(
        self, row: int, at: np.ndarray, size: tuple[int, int], channels: int, header: FilmHeader
    ) -> Tensor:
        return decode_at(self.file(row), at, size, channels, header)


class FilmFiles(FolderFiles, EncodedClips):
    """Films below a folder."""


class FilmShards(TarFiles, EncodedClips):
    """Films in tar shards."""


class Stills:
    """Films whose frames can be had one by one, a frame a second: they have no time stamps."""

    threaded = True

    def count(self, row: int) -> int:
        """Frames of a film."""
        raise NotImplementedError

    def frame(self, row: int, number: int, size: tuple[int, int], channels: int) -> Tensor:
        """uint8 `[channels, *size]`."""
        raise NotImplementedError

    def decode(self, row: int, size: tuple[int, int], channels: int, most: int) -> tuple[Tensor, np.ndarray]:
        times = np.arange(self.count(row), dtype=np.float64)
        return torch.stack([self.frame(row, n, size, channels) for n in range(len(times))]), times

    def decode_at(
        self, row: int, at: np.ndarray, size: tuple[int, int], channels: int, header: FilmHeader
    ) -> Tensor:
        numbers = (at + LATE).astype(int).clip(0, self.count(row) - 1).tolist()
        found = {n: self.frame(row, n, size, channels) for n in dict.fromkeys(numbers)}
        return torch.stack([found[n] for n in numbers])


class FrameFolders(Stills):
    """A folder of pictures a film, in the order of the numbers in their names."""

    def __init__(
        self, root: Path, films: Sequence[str], frames: Sequence[Sequence[str]], labels: np.ndarray | None
    ) -> None:
        self.root, self.labels = root, labels
        self.films, self.frames = Names(films), Names([name for film in frames for name in film])
        self.starts = np.cumsum([0, *map(len, frames)])

    def __len__(self) -> int:
        return len(self.films)

    def name(self, row: int) -> str:
        return self.films[row]

    def count(self, row: int) -> int:
        return int(self.starts[row + 1] - self.starts[row])

    def inspect(self, row: int) -> FilmHeader:
        first = inspect_image(self._path(row, 0))
        return FilmHeader(first.height, first.width, first.channels, self.count(row), 1.0, timed=False)

    def frame(self, row: int, number: int, size: tuple[int, int], channels: int) -> Tensor:
        path = self._path(row, number)
        try:
            pixels = decode_image(path, size, channels)
        except OSError as error:
            raise OSError(f"{path.name}: {error}") from None
        if pixels.dtype != torch.uint8:
            raise ValueError(f"{path.name} has more than 8 bits a colour: give frames of bytes, or arrays")
        return pixels

    def contents(self) -> Contents:
        return of_files((self.frames[i], self.root / self.frames[i]) for i in range(len(self.frames)))

    def _path(self, row: int, number: int) -> Path:
        return self.root / self.frames[int(self.starts[row]) + number]


class ArrayFilms(Stills):
    """Films in arrays, of one length or of several."""

    def __init__(self, films: Any, axis: int, labels: np.ndarray | None, origin: Path | None = None) -> None:
        self.films, self.axis, self.labels, self.origin = films, axis, labels, origin

    def __len__(self) -> int:
        return len(self.films)

    def name(self, row: int) -> str:
        return f"clip {row}"

    def count(self, row: int) -> int:
        return len(self.films[row])

    def inspect(self, row: int) -> FilmHeader:
        channels, height, width = self._pixels(row, slice(0, 1)).shape[1:]
        return FilmHeader(height, width, channels, self.count(row), 1.0, timed=False)

    def decode(self, row: int, size: tuple[int, int], channels: int, most: int) -> tuple[Tensor, np.ndarray]:
        pixels = fit(recolour(self._pixels(row, slice(None)), channels), size)
        return pixels, np.arange(len(pixels), dtype=np.float64)

    def frame(self, row: int, number: int, size: tuple[int, int], channels: int) -> Tensor:
        return fit(recolour(self._pixels(row, slice(number, number + 1)), channels), size)[0]

    def contents(self) -> Contents:
        if self.origin is not None:
            return of_files([(self.origin.name, self.origin)])
        if isinstance(self.films, np.ndarray | Tensor):
            return of_array(self.films)
        return of_array(np.concatenate([np.asarray(film).ravel() for film in self.films]))

    def _pixels(self, row: int, frames: slice) -> Tensor:
        return frames_of(self.films[row][frames], self.axis, row)


def frames_of(frames: np.ndarray | Tensor, axis: int, row: int = 0) -> Tensor:
    """uint8 `[T, C, H, W]` of the frames of clip `row`; `axis` of a frame's channels, 1 or 3 (grey: any)."""
    try:
        if frames.ndim == 4:
            first = frames.movedim(axis, 1) if isinstance(frames, Tensor) else np.moveaxis(frames, axis, 1)
            flat = first.reshape(-1, *first.shape[2:])  # every channel a grey frame
            return to_pixels(flat).view(tuple(first.shape))
        return to_pixels(frames)
    except UserError as error:
        raise UserError(f"clip {row}: {str(error).replace('images', 'frames')}") from None


def open_folder(
    root: Path, split: str, cut: ClipCut, size: tuple[int, int], channels: int | None, pattern: str
) -> ClipSet:
    """Films below a folder, or folders of frames where it holds pictures and no films.

    Labels and splits are by sub-folders (`readers.folders.list_folder`). A folder that holds frames is one film, and
    its class the first-level sub-folder above it.
    """
    found = list_folder(root, split)
    films = [i for i, name in enumerate(found.names) if _suffix(name) in SUFFIXES]
    pictures = [name for name in found.names if _suffix(name) in FRAMES]
    if pictures and not films:
        return _open_frames(root, found, pictures, cut, size, channels, pattern)
    kept = set(films)
    others = [Skipped(name, "not a film") for i, name in enumerate(found.names) if i not in kept]
    if films:
        library()
    labels = None if found.labels is None else found.labels[films]
    names = [found.names[i] for i in films]
    return build(
        str(root),
        FilmFiles(found.folder, names, labels),
        cut,
        key=lambda row: f"{found.inside}{names[row]}",
        size=size,
        channels=channels,
        classes=found.classes,
        groups=groups_of(names, pattern),
        splits=found.splits,
        skipped=[*found.skipped, *others],
    )


def open_file(path: Path, cut: ClipCut, size: tuple[int, int], channels: int | None) -> ClipSet:
    """One film."""
    library()
    source = FilmFiles(regular(path).parent, [path.name], None)
    return build(str(path), source, cut, key=source.name, size=size, channels=channels)


def _open_frames(
    root: Path,
    found: Listing,
    pictures: Sequence[str],
    cut: ClipCut,
    size: tuple[int, int],
    channels: int | None,
    pattern: str,
) -> ClipSet:
    films: dict[str, list[str]] = {}
    for name in pictures:
        films.setdefault(name.rpartition("/")[0] or ".", []).append(name)
    names = sorted(films)
    frames = [sorted(films[name], key=_natural) for name in names]
    nested, labels = any("/" in name for name in names), None
    if nested:
        number = {name: i for i, name in enumerate(found.classes or ())}
        labels = np.array([number[n.split("/", 1)[0]] if "/" in n else -1 for n in names], np.int64)
    return build(
        str(root),
        FrameFolders(found.folder, names, frames, labels),
        cut,
        key=lambda row: f"{found.inside}{names[row]}",
        size=size,
        channels=channels,
        classes=found.classes if nested else None,
        groups=groups_of(names, pattern),
        splits=found.splits,
        skipped=found.skipped,
    )


def open_shards(
    name: str,
    shards: Sequence[Path],
    split: str,
    cut: ClipCut,
    size: tuple[int, int],
    channels: int | None,
    pattern: str,
) -> ClipSet:
    """Films in tar shards, labelled by `key.cls`, or by the folders in which they lie in the shards."""
    library()
    splits, places, index = read_shards(name, shards, split, SHARDED)
    names = [entry.split("/", 1)[1] for entry in index.names]
    classes = None
    if all(label < 0 for label in index.labels):
        classes = sorted({entry.split("/", 1)[0] for entry in names if "/" in entry}) or None
        number = {name: i for i, name in enumerate(classes or ())}
        index.labels = [number[n.split("/", 1)[0]] if "/" in n else -1 for n in names]
    source = FilmShards(places, index)
    return build(
        name,
        source,
        cut,
        key=source.name,
        size=size,
        channels=channels,
        classes=classes,
        groups=groups_of(names, pattern),
        splits=splits,
        skipped=index.skipped,
    )


def open_arrays(
    films: Any,
    labels: Any,
    cut: ClipCut,
    size: tuple[int, int],
    channels: int | None,
    name: str = "array",
    origin: Path | None = None,
) -> ClipSet:
    """Clips `[N, T, H, W]`, `[N, T, H, W, C]` or `[N, T, C, H, W]`, or a list of them of several lengths.

    Values are whole numbers in 0..255 or floats in 0..1; labels `[N]` are whole numbers, -1 for none, or names.

    Raises:
        UserError: another shape, type or range, or labels that do not go with the clips.
    """
    if len(films) == 0:
        raise UserError(f"{name}: it holds no clips")
    first = films[0]
    habit = "first" if isinstance(first, Tensor) else "last"
    for row, film in enumerate(films if isinstance(films, list | tuple) else films[:1]):
        if getattr(film, "ndim", 0) not in (3, 4) or 0 in film.shape:
            shape = list(getattr(film, "shape", ()))
            raise UserError(
                f"{name}: clip {row} has shape {shape}: give [T, H, W], [T, H, W, C] or [T, C, H, W], "
                "and of several clips one more axis in front"
            )
    axis = channel_axis(tuple(first.shape), channels, habit, name) if first.ndim == 4 else 1
    classes, numbers = _labels(labels, len(films), name)
    source = ArrayFilms(films, axis, numbers, origin)
    return build(name, source, cut, size=size, channels=channels, classes=classes)


def groups_of(names: Sequence[str], pattern: str) -> np.ndarray | None:
    """int64 `[N]`: what `{group}` stands for in each file's name without folders and suffix; `None` without pattern.

    Raises:
        UserError: a name that the pattern does not fit.
    """
    if not pattern:
        return None
    parts = [p for p in re.split(r"(\{\w+\})", pattern) if p]
    if parts.count("{group}") != 1:
        raise UserError(f"signal.group {pattern!r} must hold {{group}} once, e.g. {{group}}-{{clip}}")
    expression = "".join(
        "(?P<group>.+?)" if p == "{group}" else ".+?" if p[0] == "{" else re.escape(p) for p in parts
    )
    found = []
    for name in names:
        stem = name.rpartition("/")[2].rpartition(".")[0] or name.rpartition("/")[2]
        match = re.fullmatch(expression, stem)
        if match is None:
            raise UserError(f"the name of {name} is not like signal.group {pattern!r}: change either")
        found.append(match["group"])
    return np.unique(found, return_inverse=True)[1].astype(np.int64)


def _labels(labels: Any, count: int, name: str) -> tuple[list[str] | None, np.ndarray | None]:
    if labels is None:
        return None, None
    values = np.asarray(labels)
    if values.shape != (count,) or values.dtype.kind not in "iubUS":
        raise UserError(
            f"{name}: labels of shape {values.shape} and type {values.dtype} for {count} clips: give one whole number "
            "or name a clip"
        )
    if values.dtype.kind in "US":
        classes, numbers = np.unique(values.astype(str), return_inverse=True)
        return classes.tolist(), numbers.astype(np.int64)
    return None, values.astype(np.int64)


def _suffix(name: str) -> str:
    return Path(name).suffix.lower()


def _natural(name: str) -> list[Any]:
    """So that frame 10 follows frame 9."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]

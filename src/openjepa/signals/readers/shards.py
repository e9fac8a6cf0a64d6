"""Tar shards of samples (`key.jpg`) and of their labels (`key.cls`, a number), gzipped or not."""

import contextlib
import glob
import gzip
import hashlib
import io
import os
import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tarfile import ReadError
from typing import Any, BinaryIO, Self

import numpy as np

from openjepa.common.contents import Contents, of_files
from openjepa.common.reach import inside, regular
from openjepa.errors import UserError
from openjepa.signals.readers.cache import cache_dir
from openjepa.signals.readers.folders import Names
from openjepa.signals.readers.skipped import Skipped
from openjepa.signals.readers.splits import SPLITS, pick_split

SUFFIXES = (".tar", ".tar.gz", ".tgz")
HELD_BYTES = 2**28
"""Gzipped shards with no more encoded bytes than this are read into memory; others are unpacked into the cache."""
MEMBER_BYTES = 2**28
"""No single sample is larger than this."""
UNPACKED_BYTES = 2**37
"""The most that a gzipped shard may unpack to."""
HEADER_BYTES = 2**20
"""The most that a long name or other extra of a tar header may take."""


@dataclass(frozen=True)
class Wanted:
    """Which files of a shard are samples.

    Attributes:
        suffixes: in lower case, with the dot.
        one, several: what messages call them: `an image`, `images`.
    """

    suffixes: frozenset[str]
    one: str
    several: str


class _Member(tarfile.TarInfo):
    """Refuses what no writer writes: sizes beyond all bounds, names that fill the memory, headers that are none.

    tarfile by itself takes a damaged header for the end of the archive.
    """

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile)
        except _BAD_HEADERS as error:
            raise ReadError(str(error)) from None

    def _proc_member(self, tar: tarfile.TarFile) -> Any:
        if not 0 <= self.size <= (HEADER_BYTES if self.type in _EXTRAS else UNPACKED_BYTES):
            raise ReadError(f"a header says {self.size:,} bytes")
        return super()._proc_member(tar)  # ty: ignore[missing-attribute]


_BAD_HEADERS: Any = (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError)  # ty: ignore[missing-attribute]
_EXTRAS = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE)


class _TooLarge(Exception):
    """The gzipped shards do not fit into `HELD_BYTES`."""


class TarFiles:
    """Byte ranges of plain tar files, or of one buffer, by number."""

    def __init__(self, places: Sequence[Path | bytes], index: "_Index") -> None:
        self.places, self.names = places, Names(index.names)
        self.at = np.array(index.at, dtype=np.int64).reshape(-1, 3)  # place, offset, length
        self.labels = np.array(index.labels, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.names)

    def name(self, row: int) -> str:
        return self.names[row]

    def contents(self) -> Contents:
        return of_files((path.name, path) for path in self.places if isinstance(path, Path))

    def file(self, row: int) -> BinaryIO:
        place, offset, length = self.at[row].tolist()
        where = self.places[place]
        if isinstance(where, bytes):
            return io.BytesIO(where[offset : offset + length])
        with where.open("rb") as file:
            file.seek(offset)
            return io.BytesIO(file.read(length))


class _Index:
    """What the shards hold: samples, where they lie, their labels, and what cannot be used."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.at: list[tuple[int, int, int]] = []
        self.labels: list[int] = []
        self.skipped: list[Skipped] = []

    def add_shard(self, shard: str, samples: dict[str, tuple[int, int, int]], labels: dict[str, int]) -> None:
        for name, at in samples.items():
            self.names.append(f"{shard}/{name}")
            self.at.append(at)
            self.labels.append(labels.get(os.path.splitext(name)[0], -1))


def find_shards(data: Path) -> list[Path]:
    """The shards that a path means: itself, those in a folder, or those that a glob pattern matches; else none."""
    if data.is_dir():
        names = [path.name for path in data.iterdir() if path.name.endswith(SUFFIXES) and not path.is_dir()]
        return [_inside(data, name) for name in sorted(names)]
    if data.name.endswith(SUFFIXES) and data.exists():
        return [regular(data)]
    found = [] if data.exists() else glob.glob(str(data))
    return [regular(path) for path in sorted(found) if path.endswith(SUFFIXES)]


def _inside(folder: Path, name: str) -> Path:
    inside(folder, name)
    return folder / name


def read_shards(
    name: str, shards: Sequence[Path], split: str, wanted: Wanted
) -> tuple[tuple[str, ...], list[Path | bytes], "_Index"]:
    """The splits on offer, and of the one that is meant: where the samples lie, for `TarFiles`, and their index.

    Names of shards that begin with `train`, `test` or `val` give the split; if none does, all are `train`.

    Raises:
        UserError: there is no such split, a label is no number, or a shard is too large to be unpacked.
    """
    parts = {s: [path for path in shards if _split_of(path) == s] for s in SPLITS}
    parts = {s: paths for s, paths in parts.items() if paths} or {"train": list(shards)}
    split = pick_split(name, tuple(parts), split)
    try:
        places, index = _read(parts[split], wanted)
    except _TooLarge:
        places, index = _read([_unpacked(path) for path in parts[split]], wanted)
    return tuple(parts), places, index


def _split_of(path: Path) -> str | None:
    first = re.split(r"[^a-z]", path.name.lower(), maxsplit=1)[0]
    return next((split for split, aliases in SPLITS.items() if first in aliases), None)


def _read(shards: Sequence[Path], wanted: Wanted) -> tuple[list[Path | bytes], _Index]:
    """Index plain shards; read gzipped ones, which have no random access, into one buffer (place 0)."""
    index, buffer = _Index(), bytearray()
    for number, path in enumerate(shards, 1):
        samples: dict[str, tuple[int, int, int]] = {}
        labels: dict[str, int] = {}
        packed = _is_gzip(path)
        try:
            with _open(path, packed) as tar:
                for member in _files(tar, index.skipped, path.name, packed, wanted):
                    stem, suffix = os.path.splitext(member.name)
                    if suffix.lower() == ".cls":
                        labels[stem] = _label(tar, member, path)
                    elif suffix.lower() not in wanted.suffixes:
                        index.skipped.append(Skipped(f"{path.name}/{member.name}", f"not {wanted.one}"))
                    elif packed:
                        samples[member.name] = (0, len(buffer), member.size)
                        buffer += _bytes(tar, member)
                        if len(buffer) > HELD_BYTES:
                            raise _TooLarge
                    else:
                        samples[member.name] = (number, member.offset_data, member.size)
        except (EOFError, OSError, ValueError, OverflowError, zlib.error, tarfile.TarError) as error:
            if isinstance(error, UserError):
                raise
            index.skipped.append(
                Skipped(path.name, f"truncated or damaged after {len(samples)} {wanted.several} ({error})")
            )
        index.add_shard(path.name, samples, labels)
    return [bytes(buffer), *shards], index


_TOO_MUCH = f"unpacks to more than {UNPACKED_BYTES:,} bytes: unpack it yourself and give the .tar file"


def _files(
    tar: tarfile.TarFile, skipped: list[Skipped], shard: str, packed: bool, wanted: Wanted
) -> Iterator[tarfile.TarInfo]:
    """Ordinary visible files. Names only ever serve as keys: nothing is written where a tar file says."""
    total = 0
    for member in tar:
        total += member.size
        if packed and total > UNPACKED_BYTES:
            raise UserError(f"{shard} {_TOO_MUCH}")
        tar.members = []  # ty: ignore[missing-attribute]  # tarfile would keep every header in memory
        if member.isdir() or os.path.basename(member.name).startswith("."):
            continue
        if not member.isreg() or member.issparse():
            skipped.append(Skipped(f"{shard}/{member.name}", "not an ordinary file"))
        elif member.size > MEMBER_BYTES:
            skipped.append(
                Skipped(
                    f"{shard}/{member.name}",
                    f"{member.size:,} bytes are too many for {wanted.one}",
                )
            )
        else:
            yield member


def _bytes(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None  # an ordinary file
    data = file.read()
    if len(data) != member.size:
        raise EOFError(f"{member.name} is cut off")
    return data


def _open(path: Path, packed: bool) -> tarfile.TarFile:
    return (
        tarfile.open(path, "r|gz", tarinfo=_Member) if packed else tarfile.open(path, "r:", tarinfo=_Member)
    )


def _label(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> int:
    text = _bytes(tar, member)[:100].decode("utf-8", "replace").strip()
    if not re.fullmatch(r"\d{1,9}", text):
        raise UserError(f"{path}: {member.name} holds {text!r}: a label is a whole number from 0")
    return int(text)


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _unpacked(path: Path) -> Path:
    """The plain tar of a gzipped shard, made once in the user's cache."""
    if not _is_gzip(path):
        return path
    status = path.stat()
    version = f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"
    folder = cache_dir() / "shards" / hashlib.sha256(version.encode()).hexdigest()[:16]
    target = folder / f"{path.name.removesuffix('.gz').removesuffix('.tgz').removesuffix('.tar')}.tar"
    if target.is_file():
        return target
    partial = folder / f".{os.getpid()}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        cut_short = contextlib.suppress(
            EOFError, zlib.error, gzip.BadGzipFile
        )  # the reader reports a truncated tar
        with gzip.open(path) as packed, partial.open("wb") as plain, cut_short:
            while part := packed.read(2**20):
                if plain.tell() + len(part) > UNPACKED_BYTES:
                    raise OverflowError
                plain.write(part)
        os.replace(partial, target)
    except OverflowError:
        partial.unlink(missing_ok=True)
        raise UserError(f"{path} {_TOO_MUCH}") from None
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise UserError(
            f"{path} is too large to read without unpacking, and unpacking it into {folder} failed ({error}): free "
            "some space, or set OPENJEPA_CACHE to a folder on a larger disk"
        ) from None
    return target

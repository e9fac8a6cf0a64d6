"""Samples and their labels in numpy's files."""

import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from openjepa.common.reach import regular
from openjepa.errors import UserError
from openjepa.signals.readers.splits import SPLITS, pick_split

MEMBER_BYTES = 2**33
"""The largest array in a .npz file, which must be unpacked into memory; a .npy file may be of any size."""

_SAMPLES = ("x", "images", "data", "points", "arr_0")
_LABELS = ("y", "labels", "label", "targets", "arr_1")
_ARCHIVE = b"PK"
"""How a .npz file begins."""
_DAMAGED = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, OverflowError, SyntaxError, MemoryError),
    *(NotImplementedError, RuntimeError, zipfile.BadZipFile, tokenize.TokenError),
    *(zlib.error, lzma.LZMAError, struct.error),
)
"""What numpy's and zipfile's readers are known to raise on damaged input."""


@dataclass(frozen=True, eq=False)
class Arrays:
    """One split of a file: samples, memory-mapped where they are of a `.npy` file; labels, or `None`; all splits.

    Attributes:
        other: the first array of these names that the file holds, or `None`; while it is open.
    """

    samples: np.ndarray
    labels: np.ndarray | None
    splits: tuple[str, ...]
    other: Callable[..., np.ndarray | None]


@contextmanager
def read_array_file(path: Path, split: str, noun: str = "images") -> Generator[Arrays]:
    """`.npy`: samples, memory-mapped. `.npz`: `x` and, if labelled, `y`; or `x_train`, `y_train`, `x_test`, `y_test`.

    The names `images` and `data`, `labels` and `targets`, also before (`train_images`) or after the split, are
    understood too. Pickled objects are never loaded. What reads a damaged file inside of the `with` is told so, too.

    Raises:
        UserError: damaged, too large, or without samples or the split.
    """
    with _loaded(path) as loaded:
        if isinstance(loaded, np.ndarray):
            pick_split(str(path), ("train",), split)
            yield Arrays(loaded, None, ("train",), lambda *names: None)
        else:
            yield _open_npz(path, loaded, split, noun)


def splits_in(path: Path) -> tuple[str, ...]:
    """The splits that a numpy file holds; only `train` where it names none.

    Raises:
        UserError: damaged.
    """
    with _loaded(path) as loaded:
        return tuple(() if isinstance(loaded, np.ndarray) else _parts(loaded)) or ("train",)


@contextmanager
def _loaded(path: Path) -> Generator[Any]:
    """An array, memory-mapped, or an open .npz file, by the first bytes; errors inside of the `with` are told."""
    regular(path)
    try:
        with path.open("rb") as file:  # which numpy leaves open where it is no whole archive
            if file.read(len(_ARCHIVE)) != _ARCHIVE:
                yield np.load(path, mmap_mode="r", allow_pickle=False)
                return
            file.seek(0)
            with np.load(file, allow_pickle=False) as loaded:
                yield loaded
    except UserError:
        raise
    except _DAMAGED as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is not a readable numpy file of plain numbers ({why})") from None


def _key(loaded: Any, names: tuple[str, ...], part: str = "") -> str | None:
    """The first of the names that a .npz file holds, of a part of it."""
    wanted = names if not part else [f for n in names for f in (f"{n}_{part}", f"{part}_{n}")]
    return next((name for name in wanted if name in loaded), None)


def _parts(loaded: Any) -> list[str]:
    return [part for part in SPLITS if _key(loaded, _SAMPLES, part)]


def _open_npz(path: Path, loaded: Any, split: str, noun: str) -> Arrays:
    parts = _parts(loaded)
    split = pick_split(str(path), parts or ("train",), split)
    part = split if parts else ""
    samples, labels = _key(loaded, _SAMPLES, part), _key(loaded, _LABELS, part)

    def other(*names: str) -> np.ndarray | None:
        found = _key(loaded, names)
        return None if found is None else _member(path, loaded, found)

    if samples is None:
        held = ", ".join(list(loaded)[:8]) or "nothing"
        raise UserError(f"{path} holds {held}: name the {noun} 'x' and their labels 'y'")
    return Arrays(
        _member(path, loaded, samples),
        None if labels is None else _member(path, loaded, labels).reshape(-1),
        tuple(parts) or ("train",),
        other,
    )


def _member(path: Path, loaded: Any, name: str) -> np.ndarray:
    """An array of a .npz file, once its header says as many bytes as there are, and not too many.

    Raises:
        UserError: too large, or a header that promises what is not there.
    """
    archive: zipfile.ZipFile = loaded.zip
    member = archive.getinfo(name if name in archive.namelist() else f"{name}.npy")
    with archive.open(member) as file:
        claimed = _claimed(file)
    if (size := max(claimed, member.file_size)) > MEMBER_BYTES:
        raise UserError(
            f"{path}: {name} unpacks to {size:,} bytes, and at most {MEMBER_BYTES:,} are read: save it as a .npy file, "
            "which is read in parts"
        )
    if claimed > member.file_size:
        raise UserError(
            f"{path}: {name} is cut off: {claimed:,} bytes are promised, {member.file_size:,} are there"
        )
    return loaded[name]


def _claimed(file: IO[bytes]) -> int:
    """Bytes of data that an array's header promises."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    claimed = dtype.itemsize
    for length in shape:
        claimed *= int(length)
    return claimed

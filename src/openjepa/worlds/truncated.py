"""HDF5 files, also those whose end is missing: a broken-off copy still holds whole episodes."""

import io
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from openjepa.common.reach import regular
from openjepa.errors import UserError
from openjepa.signals.images.decode import BROKEN
from openjepa.worlds.records import first_line

_HOPS = 16
"""Soft links on the way to a dataset."""
_UNSUSPECTED, _PACKED = 2**26, 20_000
"""Bytes that any dataset may claim, and how far compression can go (gzip: 1,032 to 1)."""
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_END = {0: 40, 1: 44, 2: 28, 3: 28}
"""Superblock version -> where it tells the file's length (HDF5 File Format Specification 3.0, section II.A)."""


def open_hdf5(path: Path) -> Any:
    """An open `h5py.File`, for reading; what is missing at its end reads as zeros (see `intact`).

    Raises:
        UserError: h5py is missing, or it is no ordinary file, or not HDF5.
    """
    h5py = import_h5py(path)
    regular(path)
    try:
        return h5py.File(path, "r")
    except BROKEN as error:
        missing = lost_bytes(path)
        if not missing:
            raise UserError(f"{path} cannot be read as HDF5 ({first_line(error)})") from None
        try:
            return h5py.File(_Padded(path, path.stat().st_size + missing), "r")
        except BROKEN:
            raise UserError(f"{path} is truncated: its last {missing} bytes are missing") from None


def locate(node: Any, path: str) -> Any:
    """The object at `path` in an HDF5 group, of this file alone.

    Raises:
        UserError: it lies, or has its contents, in another file.
        KeyError: nothing is there.
        One of `BROKEN`: the file is damaged.
    """
    from h5py import Dataset, ExternalLink, SoftLink

    steps, hops = [step for step in reversed(path.split("/")) if step], 0
    where = node.file.filename
    node = node.file if path.startswith("/") else node
    while steps:
        step = steps.pop()
        link = node.get(step, getlink=True)
        if isinstance(link, ExternalLink):
            raise UserError(
                f"{where}: {step!r} links to the file {link.filename!r}: copy what it means into this one"
            )
        if isinstance(link, SoftLink):
            hops += 1
            if hops > _HOPS:
                raise ValueError(f"{step!r} links in a circle")
            steps += [other for other in reversed(link.path.split("/")) if other]
            node = node.file if link.path.startswith("/") else node
        else:
            node = node[step]
    if isinstance(node, Dataset) and (node.is_virtual or node.external):
        raise UserError(f"{where}: {path!r} has its numbers in other files: copy them into this one")
    return node


def require_plausible(array: Any) -> None:
    """Raises ValueError where a dataset claims much more than its file holds, so that reading it would fill memory."""
    claimed, stored = array.size * array.dtype.itemsize, array.id.get_storage_size()
    if claimed > max(_UNSUSPECTED, _PACKED * stored):
        raise ValueError(f"it claims {claimed:,} bytes where {stored:,} are stored")


def import_h5py(path: Path) -> Any:
    """The library; UserError where it is missing."""
    try:
        import h5py
    except ImportError:
        raise UserError(f"{path} is HDF5, which needs h5py: pip install 'openjepa[worlds]'") from None
    with suppress(ImportError):  # brings Blosc, Zstandard and others
        import hdf5plugin  # noqa: F401  # ty: ignore[import-not-found]
    return h5py


def require_filters(where: str, arrays: Mapping[str, Any]) -> None:
    """Raises UserError where an array is compressed in a way that cannot be undone here."""
    from h5py import h5z

    for name, array in arrays.items():
        plan = array.id.get_create_plist()
        for code, _, _, title in map(plan.get_filter, range(plan.get_nfilters())):
            if not h5z.filter_avail(code):
                what = title.decode(errors="replace") or f"filter {code}"
                raise UserError(f"{where}: {name} is compressed by {what}: pip install hdf5plugin")


def lost_bytes(path: Path) -> int:
    """Number of bytes that are missing at the end of an HDF5 file; 0 for a whole one and for what is not HDF5."""
    with path.open("rb") as file:
        head = file.read(64)
    place = _END.get(head[8]) if head.startswith(_SIGNATURE) and len(head) == 64 else None
    length = 0 if place is None else int.from_bytes(head[place : place + 8], "little")
    return max(0, length - path.stat().st_size)


def intact(dataset: Any, first: int, stop: int, size: int) -> bool:
    """Whether rows `first` to `stop - 1` of an HDF5 dataset lie within the file's first `size` bytes.

    Raises:
        OSError, RuntimeError: the index of its chunks lies beyond them.
    """
    if dataset.chunks is None:
        offset = dataset.id.get_offset()
        row = dataset.dtype.itemsize * dataset.size // max(len(dataset), 1)
        return dataset.size == 0 or (offset is not None and offset + stop * row <= size)
    corner, height = (0,) * (dataset.ndim - 1), dataset.chunks[0]
    for top in range(first // height * height, stop, height):
        chunk = dataset.id.get_chunk_info_by_coord((top, *corner))
        if chunk.byte_offset is None or chunk.byte_offset + chunk.size > size:
            return False
    return True


class _Padded(io.RawIOBase):
    """A file that goes on with zeros up to `size`."""

    def __init__(self, path: Path, size: int) -> None:
        self._file, self._size, self._place = path.open("rb"), size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        self._file.seek(self._place)
        found = self._file.readinto(view)
        view[found:] = bytes(len(view) - found)
        self._place += len(view)
        return len(view)

    def close(self) -> None:
        self._file.close()
        super().close()

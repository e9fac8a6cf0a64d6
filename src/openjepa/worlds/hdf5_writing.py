"""Writing HDF5 so that a full disk costs a sentence.

HDF5 cannot close a file whose last numbers the disk has refused: it prints pages of errors and, at the end, crashes the
process. So it writes to a file of ours that never refuses; what the disk said is raised once HDF5 is done.
"""

import io
import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openjepa.worlds.truncated import import_h5py


@contextmanager
def writing(path: Path, mode: str = "w") -> Generator[tuple[Any, Callable[[], None]]]:
    """An open `h5py.File`, and what raises as soon as something has been lost, to be called now and then.

    Args:
        mode: "w" for a new file, "r+" to add to one.

    Raises:
        OSError: the disk is full or refuses; the file is worth nothing then.
        KeyboardInterrupt: Ctrl-C, once the file is written.
    """
    h5py = import_h5py(path)
    with _uninterrupted(), _Lenient(path, "w+" if mode == "w" else "r+") as lenient:
        try:
            with h5py.File(lenient, mode) as file:
                yield file, lenient.check
        except (RuntimeError, ValueError, KeyError, OSError):  # HDF5 reads zeros where it has written
            lenient.check()
            raise
        lenient.check()


@contextmanager
def _uninterrupted() -> Generator[None]:
    """Ctrl-C waits for the end: raised inside HDF5, which calls our file, it would crash the process."""
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if came:
        raise KeyboardInterrupt


class _Lenient(io.RawIOBase):
    """A file that takes whatever is written; once the disk has refused, the rest is dropped."""

    def __init__(self, path: Path, mode: str) -> None:
        self._file = io.FileIO(path, mode)
        self._size, self._place = os.fstat(self._file.fileno()).st_size, 0
        self._refusal: OSError | None = None

    def check(self) -> None:
        """Raises what the disk has said."""
        if self._refusal is not None:
            raise self._refusal

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")[: max(0, self._size - self._place)]
        self._file.seek(self._place)
        found = self._file.readinto(view) or 0
        view[found:] = bytes(len(view) - found)
        self._place += len(view)
        return len(view)

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._attempt(lambda: self._write(view))
        self._place += len(view)
        self._size = max(self._size, self._place)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        self._size = self._place if size is None else size
        self._attempt(lambda: self._file.truncate(self._size))
        return self._size

    def close(self) -> None:
        super().close()
        try:
            self._file.close()
        except OSError as error:
            self._refusal = self._refusal or error

    def _write(self, view: memoryview) -> None:
        self._file.seek(self._place)
        while view:
            view = view[self._file.write(view) :]

    def _attempt(self, action: Callable[[], Any]) -> None:
        if self._refusal is None:
            try:
                action()
            except OSError as error:
                self._refusal = error

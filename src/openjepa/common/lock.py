"""A lock on a directory: one process at a time writes to it, and notices when it is taken away."""

import contextlib
import errno
import os
import socket
from collections.abc import Generator
from pathlib import Path

from openjepa.errors import UserError, warn

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK = ".lock"
"""The file that is locked; it is there while somebody writes, and is left over by a process that was killed."""
_UNSUPPORTED = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}
_open: set[int] = set()


class InUse(UserError):
    """Another process writes to the directory."""


class Lock:
    """A directory that this process alone writes to."""

    def __init__(self, directory: Path, handle: int) -> None:
        self.directory, self._handle = directory, handle

    def check(self) -> None:
        """Raises UserError when the directory has been removed, moved or replaced since it was locked."""
        if not _same(self._handle, self.directory / LOCK):
            raise UserError(
                f"{self.directory} was removed, moved or replaced while it was written to: nothing more can be saved "
                "there; name another directory and start again"
            )


@contextlib.contextmanager
def sole_writer(directory: str | Path) -> Generator[Lock]:
    """Hold a directory, which is made where it is missing and removed again if nothing was written to it.

    The kernel gives the lock back when the process ends, however it ends. Network file systems pass it on to other
    machines; where a file system has no locks, a warning says that nothing keeps a second process away.

    Raises:
        InUse: another process holds it.
        UserError: nothing can be written there.
    """
    directory = Path(directory)
    made: list[Path] = []
    try:
        try:
            _make(directory, made)
            handle = _acquire(directory)
        except OSError as error:
            raise UserError(
                f"{directory} cannot be written ({error.strerror or error}): make room, or name another directory"
            ) from error
        try:
            yield Lock(directory, handle)
        finally:
            if _same(
                handle, directory / LOCK
            ):  # removed while it is locked, so that nobody locks a lost file
                with contextlib.suppress(OSError):
                    (directory / LOCK).unlink()
            _open.discard(handle)
            os.close(handle)
    finally:
        with contextlib.suppress(OSError):  # not empty
            for path in reversed(made):
                path.rmdir()


def in_use(directory: str | Path) -> bool:
    """Whether another process, or this one, writes to the directory just now."""
    if fcntl is None:
        return False
    try:
        handle = os.open(Path(directory) / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EACCES)
    finally:
        os.close(handle)
    return False


def _make(directory: Path, made: list[Path]) -> None:
    """`mkdir -p`; `made`, outermost first, is what was not there."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):
        with contextlib.suppress(FileExistsError):  # made by another process just now
            path.mkdir()
            made.append(path)
    if not directory.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory))


def _acquire(directory: Path) -> int:
    while True:
        handle = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        _open.add(handle)
        try:
            _lock(handle, directory)
            if _same(handle, directory / LOCK):  # else its last owner has just removed it
                with contextlib.suppress(OSError):  # on a full disk it stays empty
                    os.ftruncate(handle, 0)
                    os.write(handle, f"{os.getpid()} on {socket.gethostname()}".encode())
                return handle
        except BaseException:
            _open.discard(handle)
            os.close(handle)
            raise
        _open.discard(handle)
        os.close(handle)


def _lock(handle: int, directory: Path) -> None:
    try:
        if fcntl is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            owner = os.pread(handle, 200, 0).decode(errors="replace")
            raise InUse(
                f"{directory} is being written to by another process{owner and f' ({owner})'}: wait for its end, or "
                "name another directory"
            ) from None
        if error.errno not in _UNSUPPORTED:
            raise
        warn(f"the file system of {directory} has no locks: start no second process that writes there")


def _same(handle: int, path: Path) -> bool:
    """Whether the path still names the open file."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False


def _let_go() -> None:
    """A worker process would hold the lock beyond its parent's end."""
    for handle in _open:
        os.close(handle)
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)

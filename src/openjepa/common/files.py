"""Files: whole or absent, tensors as safetensors, JSON; never anything that could run code."""

import hashlib
import json
import os
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from openjepa.common import reach
from openjepa.common.hub import fetched, on_hub
from openjepa.errors import UserError

CONFIG, WEIGHTS = "config.json", "model.safetensors"
ABOUT = "run.json"
"""What a run says of its command, versions and data."""
MODEL, CHECKPOINTS = "model", "checkpoints"
"""Folders of a run: its trained model, and what was saved on the way."""
CHECKSUM = "sha256"
PICKLED = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle")
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80")  # torch.save's zip archive, a bare pickle


def fill(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """`load_state_dict` that says in one sentence what does not fit."""
    wanted = model.state_dict()
    missing, unknown = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    reshaped = [k for k in wanted.keys() & tensors.keys() if wanted[k].shape != tensors[k].shape]
    groups = {"missing": missing, "unknown": unknown, "of another shape": sorted(reshaped)}
    wrong = ", ".join(f"{len(keys)} {what} ({keys[0]})" for what, keys in groups.items() if keys)
    if wrong:
        raise UserError(f"{path} does not fit its config, tensors are {wrong}: was the config changed?")
    model.load_state_dict(dict(tensors))


def saved_model(path: str | Path) -> tuple[Path, list[Path]]:
    """The config and the weights that lie in the directory of a run or of an exported model, or on the Hub.

    Of an unfinished run the weights are those of its checkpoints, the latest first; there may be none.

    Raises:
        UserError: neither lies there, or it is pickled (which is never opened).
    """
    path = fetched(str(path)) if on_hub(path) else Path(path)
    if path.is_file():
        refuse_pickle(path)
        raise UserError(f"{path} is a file: give the directory of a run or of an exported model")
    for directory in (path / MODEL, path):
        if (directory / WEIGHTS).exists():
            return directory / CONFIG, [directory / WEIGHTS]
    if not (path / CONFIG).exists():
        refuse_pickle(path / WEIGHTS)
        raise UserError(
            f"{path} holds neither a run nor an exported model: give a directory that `train` has written"
        )
    return path / CONFIG, [saved / WEIGHTS for saved in reversed(checkpoints(path / CHECKPOINTS))]


def checkpoints(root: Path) -> list[Path]:
    """The directories `step-000123` in `root`, oldest first, by the number in their names."""
    return sorted((path for path in root.glob("step-*") if _is_checkpoint(path)), key=step_of)


def step_of(path: Path) -> int:
    """The steps that were done when a checkpoint was saved, as its name says."""
    return int(path.name.removeprefix("step-"))


def _is_checkpoint(path: Path) -> bool:
    number = path.name.removeprefix("step-")
    return number.isascii() and number.isdigit() and path.is_dir()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], recipe: str) -> str:
    """Tensors by name, with the recipe's name, the library's version and their checksum, which is returned."""
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    checksum = digest(held)
    metadata = {"format": "pt", "recipe": recipe, "openjepa": library_version(), CHECKSUM: checksum}
    save_file(held, path, metadata)
    return checksum


def read_tensors(path: Path, checksum: str | None = None) -> dict[str, Tensor]:
    """Tensors by name, on the CPU.

    Args:
        path: a file of `write_tensors`, or one without a checksum, which is not checked.
        checksum: what it must be.

    Raises:
        UserError: missing, truncated, changed since it was written, or pickled.
    """
    return read_with_recipe(path, checksum)[0]


def read_with_recipe(path: Path, checksum: str | None) -> tuple[dict[str, Tensor], str | None]:
    """The tensors and the recipe's name."""
    refuse_pickle(path)
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: give a run's or an exported model's directory") from None
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is truncated or not a safetensors file ({error})") from None
    own = metadata.get(CHECKSUM) if "openjepa" in metadata else None
    known = {own, checksum} - {None}
    if known and known != {digest(tensors)}:
        raise UserError(f"{path} is damaged, its checksum is another: restore it from a copy")
    return tensors, metadata.get("recipe")


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes, types and values."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {list(tensor.shape)} {tensor.dtype} ".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


def refuse_pickle(path: Path) -> None:
    """Raises UserError for files that Python would execute in order to read them."""
    beside = [file for file in path.parent.glob("*") if file.suffix in PICKLED] if not path.exists() else []
    pickled = path if path.suffix in PICKLED or (path.is_file() and _looks_pickled(path)) else None
    if pickled is not None or beside:
        raise UserError(
            f"{pickled or beside[0]} is a pickled file, which can run code when it is opened: only safetensors are "
            "read; convert it where you trust it"
        )


def _looks_pickled(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(16)
    return (
        start.startswith(_PICKLE_STARTS) and start[8:9] != b"{"
    )  # safetensors: 8 bytes of length, then JSON


def write_json(path: Path, data: Any) -> None:
    """Indented, with a final newline."""
    path.write_text(json.dumps(data, indent=2) + "\n")


def replace_json(path: Path, data: Any) -> None:
    """The same, leaving an old file whole until the new one is. Raises OSError."""
    written = partial(path)
    try:
        write_json(written, data)
        sync(written)
        written.replace(path)
    finally:
        with suppress(OSError):
            written.unlink(missing_ok=True)
    sync(path.parent)


@contextmanager
def whole(path: Path) -> Generator[BinaryIO]:
    """A file that gets its name when the block ends well, and leaves nothing otherwise. Raises OSError.

    Until then its name is this process's own: several may write the same file, and the last one's stays.
    """
    written = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(written, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        written.replace(path)
    finally:
        with suppress(OSError):  # its folder may be no folder
            written.unlink(missing_ok=True)


def partial(path: Path) -> Path:
    """Where a file is written before it takes its name."""
    return path.with_name(path.name + ".partial")


def read_json(path: Path) -> dict[str, Any]:
    """Raises UserError when the file is missing or not a JSON object."""
    if not path.exists():
        raise UserError(f"{path} does not exist: give a run's or an exported model's directory")
    data = reach.read_json(path)
    if not isinstance(data, dict):
        raise UserError(f"{path} is not a JSON object")
    return data


def library_version() -> str:
    """OpenJEPA's, as installed."""
    try:
        return version("openjepa")
    except PackageNotFoundError:
        return "not installed"


@contextmanager
def complete_or_absent(directory: Path) -> Generator[Path]:
    """A fresh sibling directory to fill; it takes the name `directory` once everything in it is on the disk.

    Whatever interrupts the writing leaves an old `directory` as it was; between the two renames it is `_old`.

    Raises:
        UserError: the disk is full, or there is no permission.
    """
    fresh = directory.with_name(f".{directory.name}.partial")
    try:
        recover(directory)
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        yield fresh
        for path in [*fresh.iterdir(), fresh]:
            sync(path)
        if directory.exists():
            shutil.rmtree(_old(directory), ignore_errors=True)
            directory.rename(_old(directory))
        fresh.rename(directory)
        sync(directory.parent)
        shutil.rmtree(_old(directory), ignore_errors=True)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise UserError(f"{directory} cannot be written ({reason(error)})") from error


def remove(directory: Path) -> None:
    """Remove a directory so that an interruption never leaves half of it under its name."""
    gone = directory.with_name(f".{directory.name}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    try:
        directory.rename(gone)
    except OSError as error:
        raise UserError(f"{directory} cannot be removed ({reason(error)})") from error
    shutil.rmtree(gone, ignore_errors=True)


def _old(directory: Path) -> Path:
    return directory.with_name(f".{directory.name}.old")


def recover(directory: Path) -> None:
    """Bring back what an interrupted replacement has left without its name."""
    if not directory.exists() and _old(directory).exists():
        with suppress(OSError):  # another process has just done it, or may not write here
            _old(directory).rename(directory)


def sync(path: Path) -> None:
    """Wait until a file's or directory's contents are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def reason(error: Exception) -> str:
    """What the operating system said, without numbers and paths."""
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)

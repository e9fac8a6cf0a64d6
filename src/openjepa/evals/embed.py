"""Embeddings of a whole set into one file, in bounded memory, whole or not at all."""

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from torch import Tensor

from openjepa.errors import UserError
from openjepa.evals.features import Progress, device_of
from openjepa.signals.base import Labels, Samples, move


class Embedder(Protocol):
    """What `embed_to_file` needs of a model (`openjepa.jepa.JEPA` has it)."""

    def embed(self, batch: Tensor, /) -> Tensor: ...


def embed_to_file(
    model: Embedder,
    samples: Samples,
    path: str | Path,
    *,
    batch_size: int = 256,
    name: str = "model",
    progress: Progress | None = None,
) -> tuple[int, int]:
    """Write `model.embed` of every sample, in order, batch by batch.

    `.npy`: float32 `[N, D]`. `.parquet`: a row per sample with `index`, `label` (where there are labels: a class, empty
    for a sample without; or the variables), `group` (where there are groups) and the list `embedding`. The file appears
    under its name only when it is complete.

    Returns:
        (N, D)

    Raises:
        UserError: another suffix, pyarrow missing, no samples, a folder that cannot be written or is full, or NaN.
    """
    path = Path(path)
    writers: dict[str, Callable[..., None]] = {".npy": _write_npy, ".parquet": _write_parquet}
    if path.suffix not in writers:
        raise UserError(
            f"cannot write embeddings to {path.name!r}; name a file that ends in {' or '.join(writers)}"
        )
    if len(samples) == 0:
        raise UserError("there are no samples to embed; give a set with at least one")
    batches = _embeddings(model, samples, batch_size, name, progress)
    first = next(batches)
    if path.suffix == ".parquet":
        _arrow()  # before the first byte is written
    with _whole(path) as file:
        writers[path.suffix](file, len(samples), first, batches, samples.labels)
    return len(samples), first.shape[1]


def _embeddings(
    model: Embedder, samples: Samples, batch_size: int, name: str, progress: Progress | None
) -> Iterator[np.ndarray]:
    device = device_of(model)
    for start in range(0, len(samples), batch_size):
        rows = np.arange(start, min(start + batch_size, len(samples)))
        values = model.embed(move(samples.read(rows), device)).detach().float().cpu().numpy()
        if not np.isfinite(values).all():
            bad = start + int(np.flatnonzero(~np.isfinite(values).all(1))[0])
            raise UserError(
                f"{name} gives a NaN or infinite embedding for sample {bad}; use an earlier checkpoint"
            )
        yield values
        if progress:
            progress("embedding", start + len(rows), len(samples))


def _write_npy(
    file: BinaryIO, total: int, first: np.ndarray, rest: Iterator[np.ndarray], labels: Labels | None
) -> None:
    # Plain writes, not a memory map: a disk that fills up is then an OSError and not a dead process (SIGBUS).
    header = {"descr": "<f4", "fortran_order": False, "shape": (total, first.shape[1])}
    np.lib.format.write_array_header_1_0(file, header)
    for values in _chain(first, rest):
        file.write(np.ascontiguousarray(values, "<f4").data)


def _write_parquet(
    file: BinaryIO, total: int, first: np.ndarray, rest: Iterator[np.ndarray], labels: Labels | None
) -> None:
    pa, parquet = _arrow()
    known = {} if labels is None else _known(pa, labels)
    columns = [("index", pa.int64()), *((name, array.type) for name, array in known.items())]
    schema = pa.schema([*columns, ("embedding", pa.list_(pa.float32(), first.shape[1]))])
    start = 0
    with parquet.ParquetWriter(file, schema) as writer:
        for values in _chain(first, rest):
            rows = slice(start, start + len(values))
            flat = pa.array(np.ascontiguousarray(values, "<f4").ravel())
            arrays = [pa.array(np.arange(rows.start, rows.stop))]
            arrays += [array[rows] for array in known.values()]
            arrays += [pa.FixedSizeListArray.from_arrays(flat, first.shape[1])]
            writer.write_table(pa.table(arrays, schema=schema))
            start = rows.stop


def _known(pa: Any, labels: Labels) -> dict[str, Any]:
    """Columns of what is known beside the samples."""
    values = labels.values
    if values.ndim > 1:
        flat = pa.array(np.ascontiguousarray(values).ravel())
        found = {"label": pa.FixedSizeListArray.from_arrays(flat, values.shape[1])}
    else:
        found = {"label": pa.array(values, mask=None if values.dtype.kind == "f" else values < 0)}
    return found if labels.groups is None else found | {"group": pa.array(labels.groups)}


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(
            "writing .parquet needs pyarrow, which is not installed; pip install 'openjepa[parquet]', or write .npy"
        ) from None
    return pyarrow, pyarrow.parquet


@contextmanager
def _whole(path: Path) -> Generator[BinaryIO]:
    """A file that gets its name when the block ends well, and leaves nothing otherwise."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; choose a folder that you may write to"
        ) from error
    finally:
        with suppress(OSError):  # its folder may be no folder
            partial.unlink(missing_ok=True)


def _chain(first: np.ndarray, rest: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    yield first
    yield from rest

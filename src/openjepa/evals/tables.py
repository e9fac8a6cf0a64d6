"""Tables of samples on disk, row after row, whole or not at all: CSV and Parquet."""

import csv
import io
import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from openjepa.common import files
from openjepa.errors import UserError

TablePart = tuple[Mapping[str, Sequence[Any]], np.ndarray | None]
"""Some rows: their columns, and their vectors `[n, D]`, where they have some."""


def write_table(path: Path, parts: Iterable[TablePart]) -> None:
    """A `.csv` or `.parquet` file of parts with the same columns; see `writer_of`. The file is whole or absent.

    Raises:
        UserError: another suffix, pyarrow missing, a folder that cannot be written or is full.
    """
    write = writer_of(path)
    with whole(path) as file:
        write(file, parts)


def table_beside(path: Path) -> Path:
    """The table of the samples beside a file that holds none itself."""
    return path.with_name(f"{path.stem}.samples.csv")


def writer_of(path: Path) -> Callable[[BinaryIO, Iterable[TablePart]], None]:
    """Writes rows as the suffix says.

    `.csv`: vectors are columns `e0`, `e1`, ...; `.parquet`: the list `embedding`.

    Raises:
        UserError: another suffix, pyarrow missing.
    """
    if path.suffix == ".parquet":
        arrow()
        return _write_parquet
    if path.suffix == ".csv":
        return _write_csv
    raise UserError(f"cannot write a table to {path.name!r}; name a file that ends in .csv or .parquet")


def _write_csv(file: BinaryIO, parts: Iterable[TablePart]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="", write_through=True)
    rows, begun = csv.writer(text, lineterminator="\n"), False
    for columns, vectors in parts:
        if not begun:
            width = 0 if vectors is None else vectors.shape[1]
            rows.writerow([*columns, *(f"e{i}" for i in range(width))])
            begun = True
        for i, said in enumerate(zip(*columns.values(), strict=True)):
            vector = () if vectors is None else (f"{value:.9g}" for value in vectors[i].tolist())
            rows.writerow([*map(_cell, said), *vector])
    text.flush()
    text.detach()


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.9g}"
    return value


def _write_parquet(file: BinaryIO, parts: Iterable[TablePart]) -> None:
    pa, parquet = arrow()
    writer = None
    try:
        for columns, vectors in parts:
            arrays = {name: pa.array(_storable(values)) for name, values in columns.items()}
            if vectors is not None:
                flat = pa.array(np.ascontiguousarray(vectors, "<f4").ravel())
                arrays["embedding"] = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
            if writer is None:  # a column that begins with nothing may go on with text
                types = [pa.string() if array.type == pa.null() else array.type for array in arrays.values()]
                writer = parquet.ParquetWriter(file, pa.schema(list(zip(arrays, types, strict=True))))
            typed = [
                array.cast(field.type) for array, field in zip(arrays.values(), writer.schema, strict=True)
            ]
            writer.write_table(pa.table(typed, schema=writer.schema))
    finally:
        if writer is not None:
            writer.close()


def _storable(values: Sequence[Any]) -> list[Any]:
    """Names of files may hold bytes that are no text."""
    return [
        v.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if isinstance(v, str) else v
        for v in values
    ]


def arrow() -> tuple[Any, Any]:
    """pyarrow and its `parquet`. Raises UserError where it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(
            "writing .parquet needs pyarrow, which is not installed; pip install 'openjepa[parquet]', or write .npy or "
            ".csv"
        ) from None
    return pyarrow, pyarrow.parquet


@contextmanager
def whole(path: Path) -> Generator[BinaryIO]:
    """The same as `files.whole`; raises UserError where it cannot be written."""
    try:
        with files.whole(path) as file:
            yield file
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; choose a folder that you may write to"
        ) from error

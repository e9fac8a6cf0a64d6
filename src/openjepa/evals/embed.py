"""Embeddings of a whole set, in memory, or into a file in bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Unpack

import numpy as np
from torch import Tensor

from openjepa.errors import UserError
from openjepa.evals.features import Progress, device_of, is_cut_up, rows_at_once
from openjepa.evals.tables import TablePart, table_beside, whole, write_table, writer_of
from openjepa.recipes.finetune import of_samples
from openjepa.signals.base import Samples, move
from openjepa.signals.identity import columns_of
from openjepa.signals.label_table import ColumnNames, LabelSource, LabelTable, with_labels
from openjepa.training import load

BATCH = 256
SUFFIXES = (".npy", ".parquet", ".csv")


class Embedder(Protocol):
    """What embeddings need of a model (`openjepa.jepa.JEPA` has it)."""

    def embed(self, batch: Tensor, /) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Embeddings:
    """One vector a sample, and what is known of each.

    Attributes:
        features: float32 `[N, D]`.
        columns: `index`, `sample` and where they are known `second`, `label`, `group`, a value a sample; see
            `openjepa.signals.identity.columns_of`.
    """

    features: np.ndarray
    columns: dict[str, list[Any]]

    def __len__(self) -> int:
        return len(self.features)

    def save(self, path: str | Path) -> None:
        """Write them as `embed_to_file` does."""
        _write(Path(path), len(self), iter([(self.columns, self.features)]))


def embed(
    run: str | Path,
    data: Any = None,
    *,
    split: str | None = None,
    labels: LabelSource = None,
    progress: Progress | None = None,
    **columns: Unpack[ColumnNames],
) -> Embeddings:
    """The embeddings of samples by a run's model, in memory; what `openjepa embed` writes.

    Args:
        run: a directory that `openjepa train` has written, or an exported model.
        data: samples, as the run's signal opens them; `None`: the data of the run.
        split: `train` or `test`, where the data have splits; `None`: train, of a world model all episodes.
        labels, columns: a table of their labels and its columns; see `openjepa.signals.label_table.LabelTable.of`.
    """
    model, samples = opened(run, data, split, LabelTable.of(labels, **columns))
    parts = list(_parts(model, samples, BATCH, str(run), progress))
    names = parts[0][0]
    found = {name: [value for said, _ in parts for value in said[name]] for name in names}
    return Embeddings(np.concatenate([vectors for _, vectors in parts]), found)


def opened(run: str | Path, data: Any, split: str | None, labels: LabelTable) -> tuple[Any, Any]:
    """A run's model, and samples with the labels of a table; see `embed`."""
    model = load(run)
    config = of_samples(run, model.config)
    source = config.data if data is None else data
    found = config.samples(source) if split is None else config.samples(source, split)
    (samples,) = with_labels(labels, found)
    return model, samples


def embed_to_file(
    model: Embedder,
    samples: Samples,
    path: str | Path,
    *,
    batch_size: int = BATCH,
    name: str = "model",
    progress: Progress | None = None,
) -> tuple[int, int]:
    """Write `model.embed` of every sample, in order, batch by batch.

    `.npy`: float32 `[N, D]`, and beside it `NAME.samples.csv`, a row a sample. `.csv` and `.parquet`: a row a sample
    with the same columns (see `openjepa.signals.identity.columns_of`) and its vector, in columns `e0`, `e1`, ... or as
    the list `embedding`. Files appear under their names only when they are complete.

    Returns:
        (N, D)

    Raises:
        UserError: another suffix, pyarrow missing, no samples, a folder that cannot be written or is full, or NaN.
    """
    return _write(Path(path), len(samples), _parts(model, samples, batch_size, name, progress))


def _write(
    path: Path, total: int, parts: Iterator[tuple[dict[str, list[Any]], np.ndarray]]
) -> tuple[int, int]:
    if path.suffix not in SUFFIXES:
        raise UserError(
            f"cannot write embeddings to {path.name!r}; name a file that ends in {' or '.join(SUFFIXES)}"
        )
    if path.suffix != ".npy":
        writer_of(path)  # before the first sample is read
    first = next(parts)
    width = first[1].shape[1]
    if path.suffix != ".npy":
        write_table(path, _chain(first, parts))
        return total, width
    beside = table_beside(path)
    with whole(path) as file, whole(beside) as table:
        # Plain writes, not a memory map: a disk that fills up is then an OSError and not a dead process (SIGBUS).
        header = {"descr": "<f4", "fortran_order": False, "shape": (total, width)}
        np.lib.format.write_array_header_1_0(file, header)

        def without_vectors() -> Iterator[TablePart]:
            for columns, vectors in _chain(first, parts):
                file.write(np.ascontiguousarray(vectors, "<f4").data)
                yield columns, None

        writer_of(beside)(table, without_vectors())
    return total, width


def _parts(
    model: Embedder, samples: Samples, batch_size: int, name: str, progress: Progress | None
) -> Iterator[tuple[dict[str, list[Any]], np.ndarray]]:
    if len(samples) == 0:
        raise UserError("there are no samples to embed; give a set with at least one")
    device, columns, together = device_of(model), columns_of(samples), rows_at_once(samples, batch_size)
    for start in range(0, len(samples), together):
        rows = np.arange(start, min(start + together, len(samples)))
        parts: Any = samples.cuts(rows) if is_cut_up(samples) else [samples.read(rows)]  # ty: ignore
        means = [model.embed(move(part, device)).detach().float().cpu().numpy() for part in parts]
        values = means[0] if len(means) == 1 else np.mean(means, 0)
        if not np.isfinite(values).all():
            bad = start + int(np.flatnonzero(~np.isfinite(values).all(1))[0])
            raise UserError(
                f"{name} gives a NaN or infinite embedding for sample {bad} ({columns['sample'](bad)}); use an earlier "
                "checkpoint"
            )
        yield {called: [says(row) for row in rows.tolist()] for called, says in columns.items()}, values
        if progress:
            progress("embedding", start + len(rows), len(samples))


def _chain(
    first: tuple[dict[str, list[Any]], np.ndarray], rest: Iterator[tuple[dict[str, list[Any]], np.ndarray]]
) -> Iterator[tuple[dict[str, list[Any]], np.ndarray]]:
    yield first
    yield from rest

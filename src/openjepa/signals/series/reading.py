"""Series out of files, tables and arrays, each with its channels, its class and its group."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openjepa.errors import UserError, warn
from openjepa.signals.readers.arrays import read_array_file
from openjepa.signals.readers.tables import Table, numbers_of, read_table, text_of
from openjepa.signals.readers.ts_files import TextSeries, read_ts, read_tsv
from openjepa.signals.series.batch import SeriesCut

SUFFIXES = (".csv", ".parquet", ".ts", ".tsv", ".npz", ".npy")
TIMES = re.compile(r"(?i)(unnamed.*|index|date|time|timestamp|datetime|utc.*|date[_ ]?time)?")
"""Columns that say when, and are no channel."""
GAP = 0.5
"""Share of missing values above which a sentence says so."""

Answer = str | float | None
Columns = Mapping[str, NDArray[Any]]
"""By name, in order, `[rows]` each: float64, NaN where nothing is; text; or objects that are arrays of numbers."""


@dataclass(frozen=True, eq=False)
class OneSeries:
    """A series as it comes.

    Attributes:
        name: what messages call it.
        values: float32 `[C, T]`, NaN where nothing was measured.
        channels: their names.
        answer: its class, a number, or `None`.
        steps: `[T]`, the class of every step, where a table says one; `None` without.
        group: whom or what it is of; empty where nothing says so.
    """

    name: str
    values: NDArray[np.float32]
    channels: tuple[str, ...]
    answer: Answer = None
    steps: NDArray[Any] | None = None
    group: str = ""


def read_file(path: Path, name: str, cut: SeriesCut, split: str) -> list[OneSeries]:
    """The series of one file.

    Raises:
        UserError: it cannot be read, or holds no series.
    """
    suffix = path.suffix.lower()
    if suffix in (".ts", ".tsv"):
        return of_text(read_ts(path) if suffix == ".ts" else read_tsv(path), name)
    if suffix in (".csv", ".parquet"):
        return of_table(columns_of(read_table(path)), name, cut)
    with read_array_file(path, split, "series") as arrays:
        values, labels = np.asarray(arrays.samples), arrays.labels
        groups, lengths, channels = (
            arrays.other(f"{key}_{split}", f"{split}_{key}", key) for key in ("groups", "lengths", "channels")
        )
    return of_array(values, name, labels, groups, lengths=lengths, channels=channels)


def of_text(found: Sequence[TextSeries], name: str) -> list[OneSeries]:
    """Of a `.ts` or `.tsv` file."""
    return [
        OneSeries(f"{name}[{i}]", one.values, _numbered(len(one.values)), one.answer)
        for i, one in enumerate(found)
    ]


def of_array(
    values: NDArray[Any],
    name: str,
    labels: Any = None,
    groups: Any = None,
    *,
    lengths: Any = None,
    channels: Any = None,
) -> list[OneSeries]:
    """Of an array `[N, C, T]`, `[N, T]` or `[T]`.

    Raises:
        UserError: another shape or type; labels, groups or lengths that are not one a series.
    """
    if values.dtype.kind not in "iufb" or values.ndim not in (1, 2, 3) or 0 in values.shape:
        raise UserError(
            f"{name}: an array of type {values.dtype} and shape {list(values.shape)} is no set of series: give numbers "
            "[N, C, T], [N, T] or [T]"
        )
    values = values[None, None] if values.ndim == 1 else values[:, None] if values.ndim == 2 else values
    labels, groups, lengths = (
        _one_each(name, what, given, len(values))
        for what, given in (("labels", labels), ("groups", groups), ("lengths", lengths))
    )
    names = _numbered(values.shape[1]) if channels is None else tuple(map(str, np.asarray(channels).ravel()))
    if len(names) != values.shape[1]:
        raise UserError(f"{name}: {len(names)} channels are named and it has {values.shape[1]}: name each")
    found = []
    for i, one in enumerate(values):
        end = one.shape[1] if lengths is None else int(lengths[i])
        if not 0 < end <= one.shape[1]:
            raise UserError(f"{name}: series {i} has {one.shape[1]} steps, and lengths says {end}")
        answer = None if labels is None else _answer(labels[i])
        group = "" if groups is None else str(groups[i])
        found.append(OneSeries(f"{name}[{i}]", one[:, :end].astype(np.float32), names, answer, group=group))
    return found


def _answer(value: Any) -> Answer:
    """A class's name; a number with a fraction is a variable, -1 and the empty text are nothing."""
    if isinstance(value, float | np.floating):
        return float(value)
    text = str(value)
    return None if text in ("-1", "") else text


def _one_each(name: str, what: str, given: Any, count: int) -> NDArray[Any] | None:
    if given is None:
        return None
    values = np.asarray(given)
    if values.shape != (count,):
        raise UserError(f"{name}: {what} have shape {list(values.shape)} for {count} series: give one each")
    return values


def columns_of(table: Table) -> Columns:
    """All columns of a table.

    Raises:
        UserError: its first line holds numbers, which are no names.
    """
    if len(table.names) > 1 and all(map(_is_fraction, table.names)):
        raise UserError(f"{table.name}: its first line holds numbers: let it name the columns")
    return {name: _column(table, name) for name in table.names}


def _is_fraction(word: str) -> bool:
    try:
        return not float(word).is_integer()
    except (ValueError, OverflowError):
        return False


def _column(table: Table, name: str) -> NDArray[Any]:
    cells = table.read(name)
    if any(isinstance(cell, list) for cell in cells):
        found = np.empty(len(cells), object)
        for i, cell in enumerate(cells):
            found[i] = np.array([np.nan if v is None else v for v in cell or ()], np.float64)
        return found
    try:
        return np.array(cells, np.float64)
    except (ValueError, TypeError):
        known = table.column(name)
    numbers = numbers_of(known)
    if numbers is None or not any(value is not None for value in numbers):
        return np.array([text_of(cell) or "" for cell in known])
    return np.array([np.nan if value is None else value for value in numbers], np.float64)


def of_table(columns: Columns, name: str, cut: SeriesCut) -> list[OneSeries]:
    """Of a table: a row a step, or where columns hold lists, a row a series.

    Raises:
        UserError: a named column that is not there, no column of numbers.
    """
    roles = {"by": cut.by, "label": cut.label, "group": cut.group}
    for option, column in [*roles.items(), *(("columns", c) for c in cut.columns)]:
        if column and column not in columns:
            known = ", ".join(list(columns)[:8])
            raise UserError(f"{name}: it has no column {column!r} as signal.{option} says, only {known}")
    taken = {column for column in roles.values() if column}
    lists = [key for key, values in columns.items() if values.dtype == object and key not in taken]
    if lists:
        return _of_lists(columns, lists, name, cut)
    channels = cut.columns or _channels(columns, taken, name)
    if not channels:
        raise UserError(f"{name}: it has no column of numbers: give a table with a row a step")
    table = np.stack([np.asarray(columns[key], np.float64) for key in channels]).astype(np.float32)
    labels = None if not cut.label else columns[cut.label]
    rows = [(name, np.arange(table.shape[1]))]
    if cut.by:
        keys, first, member = np.unique(columns[cut.by], return_index=True, return_inverse=True)
        order = np.argsort(member, kind="stable")
        parts = np.split(order, np.cumsum(np.bincount(member))[:-1])
        rows = [(f"{name}[{keys[k]}]", parts[k]) for k in np.argsort(first)]
    found = []
    for called, steps in rows:
        group = str(columns[cut.group][steps[0]]) if cut.group else ""
        one = OneSeries(called, table[:, steps], tuple(channels), group=group)
        found.append(one if labels is None else _labelled(one, labels[steps]))
    return found


def _labelled(one: OneSeries, labels: NDArray[Any]) -> OneSeries:
    """A class of the whole series where all steps have it, else of every step."""
    if labels.dtype.kind == "f":
        whole = labels[np.isfinite(labels)]
        if len(whole) and not (whole == np.round(whole)).all():
            return replace(one, answer=float(whole[-1])) if (whole == whole[0]).all() else one
        labels = np.array(["" if not np.isfinite(v) else str(int(v)) for v in labels])
    if (labels == labels[0]).all():
        return replace(one, answer=_answer(labels[0]))
    return replace(one, steps=labels)


def _of_lists(columns: Columns, lists: Sequence[str], name: str, cut: SeriesCut) -> list[OneSeries]:
    channels = cut.columns or tuple(lists)
    found = []
    for i in range(len(columns[channels[0]])):
        parts = [np.asarray(columns[key][i], np.float32) for key in channels]
        if not max(map(len, parts)):
            raise UserError(f"{name}: row {i} holds an empty list: remove it")
        values = np.full((len(parts), max(map(len, parts))), np.nan, np.float32)
        for row, part in zip(values, parts, strict=True):
            row[: len(part)] = part
        label = columns[cut.label][i] if cut.label else None
        if isinstance(label, np.floating) and float(label).is_integer():
            label = int(label)
        group = str(columns[cut.group][i]) if cut.group else ""
        answer = None if label is None else _answer(label)
        found.append(OneSeries(f"{name}[{i}]", values, tuple(channels), answer, group=group))
    return found


def _channels(columns: Columns, taken: set[str], name: str) -> tuple[str, ...]:
    """Columns of numbers that say neither when nor what; of others a sentence tells that they are left out."""
    free = [key for key in columns if key not in taken]
    numbers = [key for key in free if columns[key].dtype.kind == "f" and not TIMES.fullmatch(key)]
    left = [key for key in free if key not in numbers and not TIMES.fullmatch(key)]
    if left and numbers:
        warn(f"{name}: columns without numbers are left out: {', '.join(left[:6])}")
    return tuple(numbers)


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(str(i) for i in range(count))

"""Labels that a table beside the data gives, matched to samples by the names of their files or their keys."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict, Unpack

import numpy as np
from pydantic import PrivateAttr

from openjepa.config import Config
from openjepa.errors import UserError
from openjepa.signals.base import Labels
from openjepa.signals.parts import keys_of, relabelled
from openjepa.signals.readers.skipped import say
from openjepa.signals.readers.tables import Table, columns_in_memory, numbers_of, read_table, text_of

IDS = ("id", "key", "file", "filename", "file_name", "path", "name", "sample", "image", "clip", "recording")
"""Names by which the column of ids is known, in any case, the first that is there; else it is the first column."""
LABELS = ("label", "class", "target", "y")
"""And that of labels; else it is the one that is left."""
GROUP = "group"
NAMED = 3
"""Names that a sentence tells."""
FEW = 20
"""Different whole numbers up to which numbers may have been meant for classes."""


class ColumnNames(TypedDict, total=False):
    """Which columns of a table say what; see `LabelTable`."""

    label: str | None
    id: str | None
    group: str | None
    kind: str | None


class LabelTable(Config):
    """Where labels of samples are written down beside them."""

    file: str = ""
    """A .csv, .tsv or .parquet file with a row a sample; empty: the data have their own labels."""
    label: str = ""
    """The column of labels; empty: `label`, `class`, `target` or `y`, or the only one that is left."""
    id: str = ""
    """The column of file names or keys; empty: `id`, `key`, `file`, `path`, `name` and the like, or the first one."""
    group: str = ""
    """The column that says of whom or what a sample is; empty: `group`, where there is one."""
    kind: Literal["auto", "classes", "numbers"] = "auto"
    """`auto`: text is classes, and so are whole numbers from 0 or 1 up without a gap; other numbers are numbers."""

    _columns: Table | None = PrivateAttr(None)

    @classmethod
    def of(
        cls,
        labels: "LabelSource",
        **columns: Unpack[ColumnNames],
    ) -> "LabelTable":
        """The table that a user names or holds: a path, or columns by name, such as a data frame.

        Args:
            columns: names of the columns `label`, `id` and `group`; `kind`: `classes` or `numbers`.

        Raises:
            UserError: columns that are named without a table; columns of unequal length.
        """
        if isinstance(labels, LabelTable):
            return labels
        given = {name: value for name, value in columns.items() if value is not None}
        if labels is None:
            if given:
                raise UserError(f"{', '.join(given)}: say of which table, with labels")
            return cls()
        if isinstance(labels, str | Path):
            return cls.parse({"file": str(labels), **given})
        found = cls.parse({"file": "the table of labels", **given})
        found._columns = columns_in_memory(labels)
        return found

    def __bool__(self) -> bool:
        return bool(self.file)

    def read(self) -> "TabledLabels":
        """The rows that have a label.

        Raises:
            UserError: the table or a column is missing, an id twice, a number that is infinite, a group missing.
        """
        table = self._columns or read_table(self.file)
        id = _column(table, self.id, IDS, "--id") or table.names[0]
        group = _column(table, self.group, (GROUP,), "--group")
        label = _column(table, self.label, LABELS, "--label") or _only(table, {id, group})
        ids = _ids(table, id)
        values, names = _values(table, label, ids, self.kind)
        groups = None if group is None else _groups(table, group, ids)
        return TabledLabels(table.name, ids, label, values, names, groups)


LabelSource = str | Path | Mapping[str, Any] | LabelTable | None
"""A table of labels: a path, or columns by name; `None`: the data's own labels."""


@dataclass(frozen=True, eq=False)
class TabledLabels:
    """A table's rows.

    Attributes:
        name: of the table.
        ids: what each row is of.
        label: the name of their column.
        values: `[N]` int64 classes, -1 without one; or float64 numbers, NaN without one.
        names: of the classes.
        groups: of each row, as text.
    """

    name: str
    ids: Sequence[str]
    label: str
    values: np.ndarray
    names: tuple[str, ...] | None
    groups: Sequence[str | None] | None

    @property
    def known(self) -> np.ndarray:
        """Which rows have a label, `[N]`."""
        return np.isfinite(self.values) if self.names is None else self.values >= 0


def with_labels(table: LabelTable, *sets: Any) -> list[Any]:
    """The sets with the table's labels in the place of their own; as they are without a table.

    Groups are the table's where it has some, else the sets' own. Every row is matched to one sample at most (to all
    windows of one recording), among all sets together. Rows that match nothing, and samples without a row or a label,
    are counted and named in a warning.

    Raises:
        UserError: no row matches, one matches several samples, several match one; see `LabelTable.read`.
    """
    if not table:
        return list(sets)
    tabled = table.read()
    names = [keys_of(samples) for samples in sets]
    places = [_place(samples.name) for samples in sets]
    keys = [
        _Key.of(place, key)
        for place, named in zip(places, names, strict=True)
        for key in dict.fromkeys(named)
    ]
    row_of = _matched(tabled, keys, sets)
    rows = [
        np.array([row_of.get(_Key.of(place, key).whole, -1) for key in named], np.int64)
        for place, named in zip(places, names, strict=True)
    ]
    _tell(tabled, sets, names, rows)
    used = np.unique(np.concatenate(rows))
    numbering = _Numbering.of(tabled, used[used >= 0])
    return [
        relabelled(samples, numbering.labels(samples, at)) for samples, at in zip(sets, rows, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class _Numbering:
    """One numbering of classes and groups for all sets, of those that occur in them."""

    tabled: TabledLabels
    classes: np.ndarray
    groups: dict[str, int]

    @classmethod
    def of(cls, tabled: TabledLabels, rows: np.ndarray) -> "_Numbering":
        classes = np.unique(tabled.values[rows]) if tabled.names is not None else np.empty(0)
        named = {tabled.groups[row] or "" for row in rows.tolist()} if tabled.groups is not None else set()
        return cls(tabled, classes[classes >= 0], {name: i for i, name in enumerate(sorted(named))})

    def labels(self, samples: Any, rows: np.ndarray) -> Labels:
        """Those of one set, whose samples have these rows of the table, or -1."""
        tabled, own, there = self.tabled, samples.labels, rows >= 0
        if tabled.names is None:
            values, names = np.where(there, tabled.values[rows], np.nan), (tabled.label,)
        else:
            classes = np.where(there, tabled.values[rows], -1)
            values = np.where(classes >= 0, np.searchsorted(self.classes, classes), -1)
            names = tuple(tabled.names[c] for c in self.classes.tolist())
        if tabled.groups is None:
            groups = getattr(samples, "groups", None) if own is None else own.groups
            called = getattr(samples, "group_names", None) if own is None else own.group_names
            return Labels(values, names, groups, None if own is None else own.folds, called)
        numbers = [self.groups[tabled.groups[row] or ""] if row >= 0 else -1 for row in rows.tolist()]
        return Labels(
            values,
            names,
            np.array(numbers, np.int64),
            group_names={i: name for name, i in self.groups.items()},
        )


# Columns


def _column(table: Table, named: str, usual: Iterable[str], option: str) -> str | None:
    """The column that is named, or the first that has a usual name.

    Raises:
        UserError: there is none of the name.
    """
    if named:
        if named not in table.names:
            have = ", ".join(map(repr, table.names))
            raise UserError(f"{table.name} has no column {named!r}: name one of {have} with {option}")
        return named
    lower = {name.lower(): name for name in reversed(table.names)}
    return next((lower[name] for name in usual if name in lower), None)


def _only(table: Table, others: set[str | None]) -> str:
    left = [name for name in table.names if name not in others]
    if len(left) != 1:
        if not left:
            raise UserError(
                f"{table.name} has no column of labels beside {', '.join(map(repr, table.names))}: add one"
            )
        told = ", ".join(map(repr, left))
        raise UserError(f"{table.name}: which column holds the labels? Name one of {told} with --label")
    return left[0]


def _ids(table: Table, column: str) -> list[str]:
    found = [text_of(cell) for cell in table.column(column)]
    if None in found:
        raise UserError(f"{table.name}: row {found.index(None) + 2} has no {column!r}: give each row its own")
    ids = [str(name) for name in found]
    if len(set(ids)) < len(ids):
        twice = next(name for name, times in Counter(ids).items() if times > 1)
        raise UserError(f"{table.name} has {twice!r} twice in {column!r}: give each sample one row")
    return ids


def _values(
    table: Table, column: str, ids: Sequence[str], kind: str
) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Classes and their names, or numbers and `None`."""
    cells = table.column(column)
    numbers = numbers_of(cells)
    if kind == "numbers" and numbers is None:
        wrong = next(cell for cell in cells if numbers_of([cell]) is None)
        raise UserError(f"{table.name}: {wrong!r} in {column!r} is no number: mend it, or take classes")
    known = [number for number in numbers or () if number is not None]
    if not known and not any(text_of(cell) for cell in cells):
        raise UserError(f"{table.name}: no row has a {column!r}: fill in the labels")
    if infinite := [i for i, number in enumerate(numbers or ()) if number in (np.inf, -np.inf)]:
        raise UserError(f"{table.name}: {column!r} of {ids[infinite[0]]!r} is infinite: give a finite number")
    if numbers is not None and (
        kind == "numbers" or (kind == "auto" and not _are_codes(table, column, known))
    ):
        return np.array([np.nan if number is None else number for number in numbers]), None
    texts = [text_of(cell) for cell in (cells if numbers is None else numbers)]  # 1 and 1.0 are one class
    order = sorted({text for text in texts if text is not None}, key=str if numbers is None else float)
    place = {text: i for i, text in enumerate(order)}
    return np.array([-1 if text is None else place[text] for text in texts], np.int64), tuple(order)


def _are_codes(table: Table, column: str, numbers: Sequence[float]) -> bool:
    """Whether numbers look like classes: whole ones from 0 or 1 up without a gap, two samples of each on average."""
    found = sorted(set(numbers))
    whole = all(float(number).is_integer() for number in found)
    codes = whole and found[0] in (0, 1) and found[-1] - found[0] == len(found) - 1
    if codes and 2 * len(found) <= len(numbers):
        return True
    if whole and len(found) <= min(FEW, len(numbers) // 2):
        told = ", ".join(f"{number:g}" for number in found[:5]) + (", ..." if len(found) > 5 else "")
        say(
            f"{table.name}: {column!r} ({told}) is taken as numbers; where they are classes, say --as classes"
        )
    return False


def _groups(table: Table, column: str, ids: Sequence[str]) -> list[str | None]:
    found = [text_of(cell) for cell in table.column(column)]
    if None in found:
        raise UserError(
            f"{table.name}: {ids[found.index(None)]!r} has no {column!r}: say of whom or what each sample is"
        )
    return found


# Which row is of which sample


class _Key(NamedTuple):
    """A sample's key, taken apart: with the folders that lead to the data, and those within them."""

    whole: str
    key: str
    folders: tuple[str, ...]
    within: tuple[str, ...]
    name: str

    @classmethod
    def of(cls, place: tuple[str, ...], key: str) -> "_Key":
        *folders, name = _parts(key) or [key]
        return cls("/".join((*place, key)), key, (*place, *folders), tuple(folders), name)


class _Claim(NamedTuple):
    """A row that fits a sample: folders in which they agree, whether it names others before these, and its number."""

    agreed: int
    elsewhere: bool
    row: int


def _place(name: str) -> tuple[str, ...]:
    """The folders of the data themselves."""
    path = Path(name)
    return tuple(part for part in path.absolute().parts if part != path.anchor) if path.is_dir() else (name,)


def _parts(name: str) -> list[str]:
    return [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]


def _stems(name: str) -> set[str]:
    """The name without its extension, or two of them where the last one is a compression's."""
    stem, dot, last = name.rpartition(".")
    if not dot or not stem:
        return set()
    return {stem} | (_stems(stem) if last.lower() in ("gz", "xz", "bz2") else set())


def rows_called(samples: Any, name: str, *, there: bool = False) -> np.ndarray:
    """The rows of the sample that a name means, as an id in a table would; several of one recording, or none.

    Args:
        there: whether the name is that of a file, which must be the sample's own.

    Raises:
        UserError: it may be several samples.
    """
    named, place = keys_of(samples), _place(samples.name)
    keys = [_Key.of(place, key) for key in dict.fromkeys(named)]
    if there:
        path = Path(name).absolute()
        whole = "/".join(part for part in path.parts if part != path.anchor)
        found = next((key for key in keys if key.whole == whole), None)
    else:
        fit = _KeyIndex(keys).find(name)
        found = None if fit is None else fit[0]
    return np.array(
        [row for row, key in enumerate(named) if found is not None and key == found.key], np.int64
    )


class _KeyIndex:
    """Keys by how they end."""

    def __init__(self, keys: Iterable[_Key]) -> None:
        self._ends: dict[tuple[str, ...], dict[str, _Key]] = {}
        for key in keys:
            for name in {key.name} | _stems(key.name):
                for end in ((name,), (key.within[-1], name) if key.within else ("", name)):
                    self._ends.setdefault(end, {})[key.whole] = key

    def find(self, id: str, where: str = "") -> tuple[_Key, int, bool] | None:
        """The key that an id means, in how many folders they agree, and whether the id names others before these.

        Raises:
            UserError: it may mean several; `where` it stands is told.
        """
        *folders, last = _parts(id) or [id]
        likely = [(last,)] if not folders else [(folders[-1], last), ("", last)]
        near = [key for end in likely for key in self._ends.get(end, {}).values()]
        fits = [(fit, key) for key in near if (fit := _fit(id, folders, last, key)) is not None]
        if not fits:
            return None
        best = max(fit for fit, _ in fits)
        first, *others = [key for fit, key in fits if fit == best]
        if others:
            raise UserError(
                f"{where}{id!r} may be {first.key} or {others[0].key}: write folders and extensions too"
            )
        return first, best[1], len(folders) > best[1]


def _matched(tabled: TabledLabels, keys: Sequence[_Key], sets: Sequence[Any]) -> dict[str, int]:
    """The row of each sample that has one, by the whole of its key."""
    noun = sets[0].noun
    index, claims = _KeyIndex(keys), dict[str, list[_Claim]]()
    for row, id in enumerate(tabled.ids):
        if (fit := index.find(id, f"{tabled.name}: ")) is not None:
            key, agreed, elsewhere = fit
            claims.setdefault(key.whole, []).append(_Claim(agreed, elsewhere, row))
    found = {}
    for whole, claimed in claims.items():
        first, *others = sorted(claimed, key=lambda claim: -claim.agreed)
        for other in others:  # of another folder of this name, elsewhere
            if not (other.elsewhere and other.agreed < first.agreed):
                one, two = tabled.ids[first.row], tabled.ids[other.row]
                raise UserError(
                    f"{tabled.name}: {one!r} and {two!r} are both of {whole}: keep one row a sample"
                )
        found[whole] = first.row
    if not found:
        raise UserError(
            f"{tabled.name}: none of its {len(tabled.ids):,} ids ({_some(tabled.ids)}) is one of the {noun} "
            f"({_some([key.key for key in keys])}): name the column of their names with --id"
        )
    return found


def _fit(id: str, folders: Sequence[str], last: str, key: _Key) -> tuple[bool, int, bool] | None:
    """How well an id fits a key: with its extension, in how many folders, exactly; `None`: not at all.

    Of the folders, as many as both have within the data must agree.
    """
    agreed = 0
    for one, other in zip(reversed(folders), reversed(key.folders), strict=False):
        if one != other:
            break
        agreed += 1
    enough = agreed >= min(len(folders), len(key.within))
    return (last == key.name, agreed, id == key.key) if enough else None


def _tell(
    tabled: TabledLabels, sets: Sequence[Any], names: Sequence[Sequence[str]], rows: Sequence[np.ndarray]
) -> None:
    """One sentence about what does not match."""
    noun, said = sets[0].noun, []
    used = {row for at in rows for row in at.tolist()}
    if unused := [id for row, id in enumerate(tabled.ids) if row not in used]:
        said.append(f"{len(unused):,} of {len(tabled.ids):,} rows match none of the {noun} ({_some(unused)})")
    total = sum(map(len, rows))
    without = [key for named, at in zip(names, rows, strict=True) for key in np.array(named)[at < 0].tolist()]
    if without:
        first = _some(list(dict.fromkeys(without)))
        said.append(f"{len(without):,} of {total:,} {noun} have no row ({first})")
    known = tabled.known
    if empty := [id for row, id in enumerate(tabled.ids) if row in used and not known[row]]:
        said.append(f"{len(empty):,} rows have no {tabled.label!r} ({_some(empty)})")
    if said:
        say(f"{tabled.name}: {'; '.join(said)}")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED:,} more" if len(names) > NAMED else "")

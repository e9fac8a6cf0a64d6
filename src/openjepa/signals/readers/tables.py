"""Tables of columns: CSV, tab-separated and Parquet files, and columns in memory."""

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openjepa.common.reach import regular
from openjepa.errors import UserError

TABLE_BYTES = 2**30
"""The largest table that is read."""
DELIMITERS = ",;\t|"
LOOKED_AT = 100
"""Lines by which the delimiter is told."""
MISSING = ("nan", "na", "n/a", "null", "none")
"""What stands for no number, in any case."""
SUFFIXES = (".csv", ".tsv", ".txt", ".parquet")

Cell = str | float | None
"""Text, a number, or nothing."""


@dataclass(frozen=True)
class Table:
    """Columns of equal length, read when they are asked for.

    Attributes:
        name: of its file, for messages.
        names: of the columns, in their order.
        count: rows.
        read: the cells of a column, by its name.
    """

    name: str
    names: tuple[str, ...]
    count: int
    read: Callable[[str], Sequence[Any]]

    def column(self, name: str) -> list[Cell]:
        """Numbers, or text without blanks around it; `None` where a cell is empty or no number (NaN)."""
        return [_cell(value) for value in self.read(name)]


def read_table(path: str | Path) -> Table:
    """A `.parquet` file, or text whose first line names the columns, parted by commas, semicolons, tabs or bars.

    Raises:
        UserError: missing, too large, without rows, damaged, or lines of unequal length.
    """
    path = regular(Path(path).expanduser(), TABLE_BYTES)
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path} is no table: give a file that ends in {', '.join(SUFFIXES)}")
    table = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_text(path)
    if twice := sorted({name for name in table.names if table.names.count(name) > 1}):
        raise UserError(f"{path} has two columns called {twice[0]!r}: rename one")
    if table.count == 0:
        raise UserError(f"{path} is empty: it has no rows below the names of its columns")
    return table


def columns_in_memory(columns: Mapping[str, Any], name: str = "the table of labels") -> Table:
    """Columns by name, as in a dictionary or a data frame.

    Raises:
        UserError: columns of several lengths, or none.
    """
    held = {str(key): list(columns[key]) for key in columns}
    lengths = {len(values) for values in held.values()}
    if len(lengths) != 1 or lengths == {0}:
        raise UserError(
            f"{name} has columns of {sorted(lengths)} rows: give columns of one length, with rows"
        )
    return Table(name, tuple(held), lengths.pop(), held.__getitem__)


def _read_text(path: Path) -> Table:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text in UTF-8: save the table as CSV in UTF-8") from None
    try:
        delimiter = max(DELIMITERS, key=lambda mark: _agreeing(text, mark))
        lines = _lines(text.splitlines(), delimiter)
    except csv.Error as error:
        raise UserError(f"{path} is no readable CSV ({error}): save the table anew") from None
    if not lines:
        raise UserError(f"{path} is empty: it has no line that names its columns")
    names, *rows = lines
    for number, row in enumerate(rows, 2):
        if len(row) != len(names):
            raise UserError(
                f"{path}: row {number} has {len(row)} cells, and {len(names)} columns are named: mend the row"
            )
    names = [name.strip() for name in names]
    commas = delimiter == ";"

    def read(name: str) -> list[str]:
        place = names.index(name)
        cells = [row[place] for row in rows]
        return [_with_point(cell) for cell in cells] if commas else cells

    return Table(str(path), tuple(names), len(rows), read)


def _lines(text: Sequence[str], delimiter: str) -> list[list[str]]:
    return [line for line in csv.reader(text, delimiter=delimiter) if any(line)]


def _agreeing(text: str, delimiter: str) -> tuple[bool, int]:
    """Whether the delimiter cuts the first lines into equally many cells, and into how many the very first."""
    first, *others = [len(line) for line in _lines(text.splitlines()[:LOOKED_AT], delimiter)] or [0]
    return first > 1 and set(others) <= {first}, first


def _read_parquet(path: Path) -> Table:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UserError(
            f"{path}: reading .parquet needs pyarrow, which is not installed; pip install 'openjepa[parquet]', or give "
            "a .csv file"
        ) from None
    try:
        table = parquet.read_table(path)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is no readable Parquet file ({why})") from None
    return Table(
        str(path), tuple(table.column_names), table.num_rows, lambda name: table.column(name).to_pylist()
    )


def _cell(value: Any) -> Cell:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool) or not hasattr(value, "__float__") or isinstance(value, str):
        return str(value).strip() or None
    number = float(value)
    return None if math.isnan(number) else number


def numbers_of(cells: Sequence[Cell]) -> list[float | None] | None:
    """The cells as numbers, `None` where one is missing; `None` for a column that holds other text."""
    try:
        return [_number(cell) for cell in cells]
    except ValueError:
        return None


def text_of(cell: Cell) -> str | None:
    """A cell as text: whole numbers without a point; `None` where there is nothing."""
    if isinstance(cell, str):
        return None if cell.lower() == "nan" else cell
    if cell is None:
        return None
    return str(int(cell)) if float(cell).is_integer() else repr(float(cell))


def _number(cell: Cell) -> float | None:
    if isinstance(cell, str):
        found = None if cell.lower() in MISSING else float(cell)
        return None if found is None or math.isnan(found) else found
    return cell


def _with_point(cell: str) -> str:
    """`3,5` as `3.5`, as a table whose cells are parted by semicolons may have it."""
    whole, comma, rest = cell.strip().partition(",")
    digits = whole.lstrip("+-").isdigit() and rest.isdigit()
    return f"{whole}.{rest}" if comma and digits else cell

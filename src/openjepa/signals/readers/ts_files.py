"""Series in text: `.ts` files (sktime, the UEA and UCR archive) and `.tsv` files (UCR 2018: class, then values)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openjepa.common.reach import regular
from openjepa.errors import UserError

BYTES = 2**32
"""The largest file that is read."""
MISSING = frozenset({"", "?", "na", "nan", "null", "none", "n/a", "-"})
"""What stands in text for a number that was not measured, in lower case."""


@dataclass(frozen=True, eq=False)
class TextSeries:
    """One series of a text file: float32 `[C, T]`, NaN where nothing was measured; a class, a number or nothing."""

    values: NDArray[np.float32]
    answer: str | float | None


def read_ts(path: Path) -> list[TextSeries]:
    """The series of a `.ts` file, channels padded with NaN to the longest of their series.

    Raises:
        UserError: no data, a value that is no number, time stamps, series of unequally many channels.
    """
    found, header = list[TextSeries](), dict[str, list[str]]()
    began = False
    for number, line in enumerate(_lines(path), 1):
        if not line or line[0] in "#%":
            continue
        if not began:
            began = _take_header(path, number, line, header)
        else:
            found.append(_series(path, number, line, header))
    if not found:
        raise UserError(f"{path}: it holds no series after a line @data: it is cut off, or no .ts file")
    return found


def read_tsv(path: Path) -> list[TextSeries]:
    """The series of a `.tsv` file, one a line, each after its class; ends of missing values are cut off.

    Raises:
        UserError: a value that is no number, or no line.
    """
    found = []
    for number, line in enumerate(_lines(path), 1):
        if not line:
            continue
        first, *rest = line.split("\t")
        values = _numbers(path, number, rest)
        if not len(values):
            raise UserError(f"{path}: line {number} has no values after its class: give class, then values")
        there = np.flatnonzero(np.isfinite(values))
        end = int(there[-1]) + 1 if len(there) else len(values)
        found.append(TextSeries(values[None, :end], _class_of(first)))
    if not found:
        raise UserError(f"{path}: it is empty")
    return found


def _class_of(text: str) -> str:
    """A class by its name; of `1.0` and `1` one name."""
    try:
        number = float(text)
    except ValueError:
        return text.strip()
    return str(int(number)) if number.is_integer() else text.strip()


def _lines(path: Path) -> Iterator[str]:
    regular(path, BYTES)
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            for line in file:
                if "\0" in line:
                    raise UserError(f"{path}: it is no text: give the .ts or .tsv file itself")
                yield line.strip("\r\n ")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from None


def _take_header(path: Path, number: int, line: str, header: dict[str, list[str]]) -> bool:
    """Whether this line ends the header."""
    if line[0] != "@":
        raise UserError(f"{path}: line {number} comes before @data and is no header: it is no .ts file")
    word, *rest = line[1:].split()
    if word.lower() == "data":
        if header.get("timestamps", ["false"])[0].lower() == "true":
            raise UserError(f"{path}: its values carry time stamps: save them at equal distances, without")
        return True
    header[word.lower()] = rest
    return False


def _series(path: Path, number: int, line: str, header: dict[str, list[str]]) -> TextSeries:
    parts = line.split(":")
    classes = header.get("classlabel", ["false"])[0].lower() == "true"
    target = header.get("targetlabel", ["false"])[0].lower() == "true"
    answer: str | float | None = None
    if classes or target:
        text = parts.pop().strip()
        answer = _number(path, number, text) if target else (None if text in ("", "?") else text)
    if not parts:
        raise UserError(f"{path}: line {number} has no values: it is cut off")
    wanted = header.get("dimensions")
    if wanted and wanted[0].isdigit() and int(wanted[0]) != len(parts):
        raise UserError(
            f"{path}: line {number} has {len(parts)} channels, and its header says {wanted[0]}: it is cut off"
        )
    channels = [_numbers(path, number, part.split(",")) for part in parts]
    values = np.full((len(channels), max(map(len, channels))), np.nan, np.float32)
    for row, channel in zip(values, channels, strict=True):
        row[: len(channel)] = channel
    return TextSeries(values, answer)


def _numbers(path: Path, number: int, words: list[str]) -> NDArray[np.float32]:
    try:
        return np.array(words, np.float64).astype(np.float32)
    except ValueError:
        return np.array([_number(path, number, word.strip()) for word in words], np.float32)


def _number(path: Path, line: int, word: str) -> float:
    if word.lower() in MISSING:
        return float("nan")
    try:
        return float(word)
    except ValueError:
        raise UserError(f"{path}: line {line} has {word[:40]!r} where a number should be") from None

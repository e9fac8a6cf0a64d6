"""A run's metrics.jsonl: one JSON object a line, with "step" and "kind": train, health, verdict or event."""

import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from openjepa.common import files
from openjepa.common.reach import parse_json
from openjepa.errors import UserError, warn

Line = dict[str, Any]
NUMBERS = {"train": ("loss",)}
TEXTS = {"verdict": ("word", "reason", "advice"), "event": ("text",)}
"""What a line of a kind holds at least."""
SOMETIMES = "task/"
"""Numbers that are not in every measurement."""


class Metrics:
    """The lines of one file. Those that are damaged, or that something else wrote, are skipped and named once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._named: set[int] = set()

    def append(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Add a line; numbers that are not finite become null. Raises OSError."""
        line = json.dumps({"step": step, "kind": kind, **{k: _finite(v) for k, v in values.items()}})
        with self.path.open("a") as file:
            file.write(line + "\n")

    def sync(self) -> int:
        """Bring the file to the disk; its length in bytes. Raises OSError."""
        files.sync(self.path)
        return self.path.stat().st_size

    def rewind(self, length: int, step: int) -> bool:
        """Go back to what was there when `step` steps were done and the file had `length` bytes. Raises OSError.

        False where that is not the end of a line: the file has been changed since, and the lines' own steps decide.
        """
        self.path.touch()
        with self.path.open("rb+") as file:
            file.seek(max(0, length - 1))
            intact = length == 0 or file.read(1) == b"\n"
            file.truncate(length if intact else self._end_of(step))
            os.fsync(file.fileno())
        return intact

    def _end_of(self, step: int) -> int:
        """The bytes before the first line that is later than `step` steps done."""
        place = 0
        with self.path.open("rb") as file:
            for number, text in enumerate(file, 1):
                line = self._parse(number, text)
                if not text.endswith(b"\n") or (line and line["step"] >= step + (line["kind"] != "train")):
                    break
                place += len(text)
        return place

    def lines(self) -> Iterator[Line]:
        """Oldest first; a last line that was cut off is left out. None where the file is missing."""
        try:
            with self.path.open("rb") as file:
                for number, text in enumerate(file, 1):
                    if text.endswith(b"\n") and (line := self._parse(number, text)) is not None:
                        yield line
        except FileNotFoundError:
            return
        except OSError as error:
            raise UserError(f"{self.path} cannot be read ({files.reason(error)})") from None

    def records(self, kind: str) -> Iterator[Line]:
        """The lines of one kind, oldest first."""
        return (line for line in self.lines() if line["kind"] == kind)

    def last(self, kind: str) -> Line:
        """The latest line of a kind; empty before the first."""
        line: Line = {}
        for line in self.records(kind):  # noqa: B007
            pass
        return line

    def readings(self) -> list[dict[str, float]]:
        """All measurements of health, as `openjepa.health.judge` takes them.

        One that lacks numbers which most others have is left out, and named.
        """
        found = [
            {key: math.nan if value is None else value for key, value in line.items() if key != "kind"}
            for line in self.records("health")
        ]
        counts = Counter(key for reading in found for key in reading)
        usual = {
            key for key, count in counts.items() if 2 * count >= len(found) and not key.startswith(SOMETIMES)
        }
        for reading in found:
            if lacks := sorted(usual - reading.keys()):
                warn(
                    f"{self.path}: the measurement of step {reading['step']} lacks {lacks[0]}; it is left out"
                )
        return [reading for reading in found if usual <= reading.keys()]

    def _parse(self, number: int, text: bytes) -> Line | None:
        try:
            line = parse_json(text.decode(), f"{self.path}, line {number}")
            if _is_sound(line):
                return line
        except (UserError, UnicodeDecodeError):
            pass
        if number not in self._named:
            self._named.add(number)
            warn(f"{self.path}: line {number} is damaged or of something else; it is left out")
        return None


def _is_sound(line: Any) -> bool:
    if not isinstance(line, dict) or not isinstance(line.get("kind"), str):
        return False
    kind, step = line["kind"], line.get("step")
    if type(step) is not int or not 0 <= step < 2**53:
        return False
    rest = {key: value for key, value in line.items() if key not in ("kind", "step")}
    if kind == "health" and not all(map(_is_logged, rest.values())):
        return False
    numbers, texts = NUMBERS.get(kind, ()), TEXTS.get(kind, ())
    return all(key in rest and _is_logged(rest[key]) for key in numbers) and all(
        isinstance(rest.get(key), str) for key in texts
    )


def _is_logged(value: Any) -> bool:
    """A number as `append` writes it."""
    return value is None or type(value) is float or (type(value) is int and abs(value) < 2**53)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value

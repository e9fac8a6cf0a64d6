"""Files that are left out of a set: why, and the sentence that says so."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from openjepa.common.distributed import rank
from openjepa.errors import UserError, warn

NAMED = 3
"""Files that a sentence about left-out files names."""

T = TypeVar("T")
Errors = tuple[type[BaseException], ...]


@dataclass(frozen=True)
class Skipped:
    """A file that is not in the set, and why."""

    name: str
    reason: str

    @classmethod
    def of(cls, name: str, path: Path, error: UserError) -> "Skipped":
        """A file that a reader refuses; the path or the name with which its sentence begins is not said twice."""
        return cls(name, str(error).removeprefix(f"{path}: ").removeprefix(f"{name}: "))


def reason_of(error: BaseException) -> str:
    """Why a file cannot be read, in the reader's words."""
    return str(error) or repr(error)


def attempt(
    action: Callable[[], T], broken: Errors, reason: Callable[[BaseException], str] = reason_of
) -> T | str:
    """The action's result, or the `reason` of one of the errors that damaged files cause."""
    try:
        return action()
    except UserError:
        raise
    except broken as error:
        return reason(error)


def attempt_all(action: Callable[[int], T], count: int, threaded: bool) -> list[T]:
    """The action for rows 0..count-1, on all cores where it is `threaded`: decoders work outside Python's lock."""

    def run(rows: range) -> list[T]:
        return [action(row) for row in rows]

    chunks = [range(i, min(i + 64, count)) for i in range(0, count, 64)]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1) if threaded else 1) as pool:
        return [result for chunk in pool.map(run, chunks) for result in chunk]


def nothing(name: str, what: str, skipped: Sequence[Skipped], give: str) -> UserError:
    """The error for a set of which nothing can be read: `what` is missing, the first file's reason, what to give."""
    example = f" ({skipped[0].name}: {skipped[0].reason})" if skipped else ""
    return UserError(f"{name}: {what}{example}; give {give}")


def say(sentence: str) -> None:
    """A warning, once for all processes."""
    if rank() == 0:
        warn(sentence)


def say_skipped(name: str, skipped: Sequence[Skipped], used: int, noun: str) -> None:
    """One sentence about files that are left out; the first ones are named."""
    if skipped:
        say(left_out(name, skipped, used, noun))


def left_out(name: str, skipped: Sequence[Skipped], used: int, noun: str, what: str = "file") -> str:
    """How many files, or other things, are left out, and the name and reason of the first ones."""
    named = ", ".join(f"{one.name} ({one.reason})" for one in skipped[:NAMED])
    more = f" and {len(skipped) - NAMED:,} more" if len(skipped) > NAMED else ""
    files = f"1 {what} is" if len(skipped) == 1 else f"{len(skipped):,} {what}s are"
    return f"{name}: {files} left out beside {used:,} {noun}: {named}{more}"

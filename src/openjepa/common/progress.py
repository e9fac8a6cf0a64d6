"""A progress bar on standard error, at once or for what takes longer than two seconds."""

import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

PATIENCE = 2.0
"""Seconds before a bar appears, where nothing else is asked for."""


class Waiting:
    """`waiting(what, done, total)` moves the bar of `what`, on a terminal only; the end of `with` takes it away.

    Args:
        patience: seconds before a bar appears.
    """

    def __init__(
        self,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
        patience: float = PATIENCE,
    ) -> None:
        self._clock, self._patience = clock, patience
        self._console = console or Console(file=sys.stderr)
        columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rate]}")
        self._bars = Progress(*columns, TimeRemainingColumn(), console=self._console, transient=True)
        self._began: dict[str, float] = {}
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "Waiting":
        return self

    def __exit__(self, *_: object) -> None:
        if self._tasks:  # else it would print an empty line
            self._bars.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        now = self._clock()
        began = self._began.setdefault(what, now)
        if not self._console.is_terminal or (what not in self._tasks and now - began < self._patience):
            return
        if what not in self._tasks:
            self._bars.start()
            self._tasks[what] = self._bars.add_task(what, total=total, rate="")
        rate = f"{done / max(now - began, 1e-9):,.0f}/s"
        self._bars.update(
            self._tasks[what], completed=done, total=total, rate=rate, visible=done < total, refresh=True
        )

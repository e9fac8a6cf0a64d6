"""A run's progress on the console: a bar with rate, time left and loss; lines where there is no terminal."""

import importlib
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

LINE_SECONDS, NOTEBOOK_SECONDS = 10.0, 0.5


class Silent:
    """Says nothing."""

    def started(self, total: int) -> None: ...
    def step(self, step: int, loss: float, rate: float) -> None: ...
    def event(self, text: str) -> None: ...
    def finished(self) -> None: ...


class Console:
    """On standard error: a live bar on a terminal, else a line about every ten seconds; events always as lines."""

    def __init__(
        self, console: RichConsole | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console or RichConsole(file=sys.stderr, highlight=False)
        self._bar = _Bar(self._console) if self._console.is_terminal else None
        self._clock, self._total, self._spoken = clock, 0, float("-inf")

    def started(self, total: int) -> None:
        self._total = total
        if self._bar:
            self._bar.start(total)

    def step(self, step: int, loss: float, rate: float) -> None:
        if self._bar:
            self._bar.update(step, loss, rate)
        elif step == self._total or self._clock() - self._spoken >= LINE_SECONDS:
            self._spoken = self._clock()
            self._say(said(step, self._total, loss, rate))

    def event(self, text: str) -> None:
        self._say(text)

    def finished(self) -> None:
        if self._bar:
            self._bar.stop()

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)


class Notebook:
    """Below a notebook's cell: one line that changes, and a line an event."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._display = importlib.import_module("IPython.display")
        self._clock, self._total, self._spoken = clock, 0, float("-inf")
        self._line: Any = None

    def started(self, total: int) -> None:
        self._total = total
        self._line = self._display.display(self._text("beginning"), display_id=True)

    def step(self, step: int, loss: float, rate: float) -> None:
        if self._line is not None and (
            step == self._total or self._clock() - self._spoken >= NOTEBOOK_SECONDS
        ):
            self._spoken = self._clock()
            self._line.update(self._text(said(step, self._total, loss, rate)))

    def event(self, text: str) -> None:
        self._display.display(self._text(text))

    def finished(self) -> None:
        self._line = None

    def _text(self, text: str) -> Any:
        return self._display.Pretty(text)


def shown() -> "Console | Notebook":
    """What shows a run to whoever called from Python."""
    kernel = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return Notebook() if type(kernel).__name__ == "ZMQInteractiveShell" else Console()


def said(step: int, total: int, loss: float, rate: float) -> str:
    """How far a run is, in a line."""
    left = timedelta(seconds=round((total - step) / rate))
    return f"step {step}/{total}  loss {loss:.4g}  {rate:.3g} steps/s  {left} left"


class _Bar:
    def __init__(self, console: RichConsole) -> None:
        self._progress = RichProgress(
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.4g}  {task.fields[rate]:.3g} steps/s"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
        )

    def start(self, total: int) -> None:
        self._task = self._progress.add_task("", total=total, loss=float("nan"), rate=0.0)
        self._progress.start()

    def update(self, step: int, loss: float, rate: float) -> None:
        self._progress.update(self._task, completed=step, loss=loss, rate=rate)

    def stop(self) -> None:
        self._progress.stop()

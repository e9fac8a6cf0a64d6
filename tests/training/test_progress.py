"""What is shown while a run goes on."""

import io
import sys
import warnings
from types import SimpleNamespace

import pytest
from rich.console import Console as RichConsole

import openjepa
from openjepa.training import fit
from openjepa.training.progress import Console

from . import small


def test_lines_every_ten_seconds_where_there_is_no_terminal() -> None:
    text, now = io.StringIO(), [0.0]
    progress = Console(RichConsole(file=text, width=60), clock=lambda: now[0])
    progress.started(100)
    for step in range(1, 101):
        progress.step(step, 0.5, rate=2.0)
        now[0] += 0.5
    progress.event("step 100: learning: [it] is " + "long " * 20)
    progress.finished()
    lines = text.getvalue().splitlines()
    assert [line.split()[1] for line in lines[:-1]] == [f"{s}/100" for s in (1, 21, 41, 61, 81, 100)]
    assert "loss 0.5  2 steps/s  0:00:40 left" in lines[1]
    assert "[it] is" in lines[-1]


def test_a_bar_on_a_terminal_ends_with_the_run() -> None:
    text = io.StringIO()
    console = RichConsole(file=text, force_terminal=True, width=100)
    fit(small.config(train__steps=3), small.images(), progress=Console(console))
    shown = text.getvalue()
    assert "3/3" in shown and "steps/s" in shown
    assert "not trained yet" in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h")  # the cursor is back


class Displayed:
    """IPython's display, as far as it is used: what stands below the cell, a line each."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def Pretty(self, text: str) -> str:
        return text

    def display(self, text: str, display_id: bool = False) -> "Displayed.Handle | None":
        self.lines.append(text)
        return Displayed.Handle(self, len(self.lines) - 1) if display_id else None

    class Handle:
        def __init__(self, shown: "Displayed", place: int) -> None:
            self.shown, self.place = shown, place

        def update(self, text: str) -> None:
            self.shown.lines[self.place] = text


class ZMQInteractiveShell:
    """Of the name by which a notebook's kernel is known."""


def test_in_a_notebook_one_line_changes_and_the_verdict_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    displayed = Displayed()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=ZMQInteractiveShell))
    monkeypatch.setitem(sys.modules, "IPython.display", displayed)
    model = openjepa.train("i-jepa", preset="tiny-vit", data=small.pixels(), options=small.options())
    lines = [line for line in displayed.lines if line.startswith("step 10/10")]
    assert len(lines) == 1 and model.verdict is not None
    assert f"{model.verdict.word}: {model.verdict.reason}" in displayed.lines[-1]


def test_from_python_progress_is_shown_unless_it_is_not_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    options = small.options(train__steps=2)
    openjepa.train("i-jepa", preset="tiny-vit", data=small.pixels(), options=options)
    assert "step 2/2" in capsys.readouterr().err
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        openjepa.train("i-jepa", preset="tiny-vit", data=small.pixels(), options=options, progress=False)
    assert not capsys.readouterr().err

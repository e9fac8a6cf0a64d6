"""What is shown while a run goes on."""

import io

from rich.console import Console as RichConsole

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

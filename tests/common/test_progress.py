"""The bar of what takes long: on a terminal, after two seconds, and gone at the end."""

import io

import pytest
from rich.console import Console

from openjepa.common.progress import Waiting


@pytest.mark.parametrize(
    ("terminal", "seconds", "shown"), [(True, 3, True), (True, 1, False), (False, 3, False)]
)
def test_a_bar_appears_only_on_a_terminal_and_when_it_takes_long(terminal, seconds, shown):
    clock = iter([0.0, float(seconds)])
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=80)
    with Waiting(console, lambda: next(clock)) as bar:
        bar("embedding", 100, 1000)
        bar("embedding", 300, 1000)
        assert ("embedding" in file.getvalue()) == shown
        assert ("100/s" in file.getvalue()) == shown
    assert bool(file.getvalue()) == shown


def test_without_patience_a_bar_appears_at_once():
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80)
    with Waiting(console, lambda: 0.0, patience=0.0) as bar:
        bar("loading", 0, 1)
        assert "loading" in file.getvalue()

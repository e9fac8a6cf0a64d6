"""A window of a recording to look at: traces of its electrodes, and a map of the head."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from openjepa.signals.pictures import Marks, Picture
from openjepa.signals.traces import Traces, colours, drawn, rgb

WIDTH, HEAD, NAMES = 520, 150, 44
"""Of the traces, of the map and of the names, in units of the drawing."""
ROW, LEAST_HEIGHT = 11, 150
"""Height of a trace, and of the drawing."""


@dataclass(frozen=True, eq=False)
class TraceWindow:
    """What is drawn: values `[C, S]`, places `[C, 3]`, names, which channels are there, tokens of `patch` samples."""

    values: NDArray[np.floating]
    places: NDArray[np.floating]
    names: Sequence[str]
    valid: NDArray[np.bool_]
    patch: int
    steps: int


def picture(window: TraceWindow, marks: Marks | None) -> Picture:
    """Traces, one a row, and beside them the head from above; marks are on cells of a channel and a token.

    On the map an electrode is filled where it is shown, hollow where it is hidden, and has the colour of the mean over
    its tokens where these have one.
    """
    marks = marks or Marks()
    rows = np.flatnonzero(window.valid)
    cells = (len(window.valid), window.steps)
    hidden = np.zeros(cells, bool) if marks.hidden is None else np.reshape(marks.hidden, cells)
    height = max(LEAST_HEIGHT, ROW * len(rows))
    row = height / max(1, len(rows))
    values = window.values[:, : window.patch * window.steps]
    parts = drawn(Traces(values, window.names, rows, window.patch, window.steps, NAMES, WIDTH, row), marks)
    parts.append(_map(window, rows, hidden, colours(marks, cells), height))
    box = f"0 0 {NAMES + WIDTH + HEAD + 12} {height:.0f}"
    style = 'style="width:100%;height:auto" fill="none" stroke="currentColor" stroke-width="0.7"'
    return Picture(drawing=f'<svg role="img" viewBox="{box}" {style}>{"".join(parts)}</svg>', wide=True)


def _map(
    window: TraceWindow,
    rows: NDArray[np.intp],
    hidden: NDArray[np.bool_],
    colour: NDArray[np.floating] | None,
    height: float,
) -> str:
    """The head from above, nose up; places are laid flat by their angle from the vertex."""
    radius, middle = HEAD * 0.4, (NAMES + WIDTH + 10 + HEAD / 2, height / 2)
    parts = [
        f'<circle cx="{middle[0]:.1f}" cy="{middle[1]:.1f}" r="{radius:.1f}"/>',
        f'<path d="M{middle[0] - 7:.1f} {middle[1] - radius + 1:.1f}l7 -9l7 9"/>',
    ]
    for channel in rows.tolist():
        right, front, up = window.places[channel].tolist()
        flat = np.hypot(right, front)
        away = np.arctan2(flat, up) / (np.pi / 2) * 0.9 * radius / max(flat, 1e-9)
        x, y = middle[0] + right * away, middle[1] - front * away
        fill = "none" if hidden[channel].all() else "currentColor"
        if colour is not None:
            known = colour[channel][np.isfinite(colour[channel]).all(1)]
            fill = rgb(known.mean(0)) if len(known) else "none"
        name = escape(window.names[channel])
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{fill}"><title>{name}</title></circle>')
    return "".join(parts)

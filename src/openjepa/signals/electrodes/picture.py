"""A window of a recording to look at: traces of its electrodes, and a map of the head."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from openjepa.signals.pictures import COLOURS, Marks, Picture, against_even, outline

WIDTH, HEAD, NAMES = 520, 150, 44
"""Of the traces, of the map and of the names, in units of the drawing."""
ROW, LEAST_HEIGHT = 11, 150
"""Height of a trace, and of the drawing."""
POINTS, OF_TRACE = 12_000, 500
"""Of all traces together, and of one, at most."""
FINE = 10
"""Steps in a unit that a trace's points are rounded to."""
LOUD = 0.98
"""Share of the values that stay inside their trace's row."""
FAINT = 0.25


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
    colour = _colours(marks, cells)
    step = WIDTH / window.steps
    height = max(LEAST_HEIGHT, ROW * len(rows))
    row = height / max(1, len(rows))
    parts = []
    for line, channel in enumerate(rows.tolist()):
        for k in range(window.steps):
            if colour is not None and np.isfinite(colour[channel, k]).all():
                x, y = NAMES + k * step, line * row
                box = f'x="{x:.1f}" y="{y:.1f}" width="{step:.1f}" height="{row:.1f}"'
                parts.append(f'<rect {box} fill="{_rgb(colour[channel, k])}" stroke="none"/>')
    parts += _traces(window, rows, hidden, marks.faint, row)
    if marks.blocks is not None:
        for i, block in enumerate(np.reshape(marks.blocks, (-1, *cells))):
            at = f"translate({NAMES} 0) scale({step:.4f} {row:.4f})"
            parts.append(
                f'<path d="{outline(block[rows])}" transform="{at}" fill="none" stroke-width="1.5" '
                f'vector-effect="non-scaling-stroke" style="stroke:var(--s{i % COLOURS + 1})"/>'
            )
    parts.append(_map(window, rows, hidden, colour, height))
    box = f"0 0 {NAMES + WIDTH + HEAD + 12} {height:.0f}"
    style = 'style="width:100%;height:auto" fill="none" stroke="currentColor" stroke-width="0.7"'
    return Picture(drawing=f'<svg role="img" viewBox="{box}" {style}>{"".join(parts)}</svg>', wide=True)


def _colours(marks: Marks, cells: tuple[int, int]) -> NDArray[np.floating] | None:
    """`[C, T, 3]`, NaN where a token has none."""
    if marks.error is not None:
        error = np.reshape(marks.error, cells)
        return np.where(np.isfinite(error)[..., None], against_even(error).astype(float), np.nan)
    if marks.colour is not None:
        found = np.reshape(marks.colour, (*cells, 3)).astype(float)
        unseen = np.zeros(cells, bool) if marks.hidden is None else np.reshape(marks.hidden, cells)
        return np.where(unseen[..., None], np.nan, found)
    return None


def _traces(
    window: TraceWindow, rows: NDArray[np.intp], hidden: NDArray[np.bool_], faint: bool, row: float
) -> list[str]:
    """Names and lines, broken where tokens are hidden."""
    values = window.values[:, : window.patch * window.steps].astype(float)
    shown = values[rows] - np.median(values[rows], 1, keepdims=True)
    loud = float(np.quantile(np.abs(shown), LOUD)) if shown.size else 1.0
    most = min(OF_TRACE, max(50, POINTS // max(1, len(rows))))
    every = max(1, -(-shown.shape[1] // most))
    x = NAMES + np.arange(0, shown.shape[1], every) / shown.shape[1] * WIDTH
    token = np.minimum(np.arange(0, shown.shape[1], every) // window.patch, window.steps - 1)
    parts = []
    for line, channel in enumerate(rows.tolist()):
        middle = (line + 0.5) * row
        y = middle - np.clip(shown[line, ::every] / max(loud, 1e-9), -1.5, 1.5) * row * 0.5
        text = f'font-size="{min(9.0, row):.1f}" text-anchor="end" fill="currentColor" stroke="none"'
        parts.append(
            f'<text x="{NAMES - 4}" y="{middle + 3:.1f}" {text}>{escape(window.names[channel])}</text>'
        )
        for unseen, opacity in ((False, 1.0), (True, FAINT)):
            if unseen and not faint:
                continue
            drawn = hidden[channel][token] == unseen
            if drawn.any():
                fine = f'transform="scale({1 / FINE:g})" stroke-width="{0.7 * FINE:g}"'
                parts.append(f'<path d="{_path(x, y, drawn)}" {fine} stroke-opacity="{opacity:g}"/>')
    return parts


def _path(x: NDArray[np.floating], y: NDArray[np.floating], drawn: NDArray[np.bool_]) -> str:
    """A line through the points that are drawn, lifted over the others, in steps of a `FINE`th."""
    parts, before = [], None
    points = zip(
        np.round(x * FINE).astype(int).tolist(), np.round(y * FINE).astype(int).tolist(), strict=True
    )
    for (a, b), shown in zip(points, drawn.tolist(), strict=True):
        if shown:
            parts.append(f"M{a} {b}l" if before is None else f"{a - before[0]} {b - before[1]} ")
        before = (a, b) if shown else None
    return "".join(parts)


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
            fill = _rgb(known.mean(0)) if len(known) else "none"
        name = escape(window.names[channel])
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{fill}"><title>{name}</title></circle>')
    return "".join(parts)


def _rgb(colour: NDArray[np.floating]) -> str:
    red, green, blue = np.round(colour).astype(int).tolist()
    return f"rgb({red} {green} {blue})"

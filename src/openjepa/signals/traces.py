"""Curves of several channels over time, as an SVG drawing with marks on cells of a channel and a token."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from openjepa.signals.pictures import COLOURS, Marks, against_even, outline

POINTS, OF_TRACE = 12_000, 500
"""Of all traces together, and of one, at most."""
FINE = 10
"""Steps in a unit that a trace's points are rounded to."""
LOUD = 0.98
"""Share of the values that stay inside their trace's row."""
FAINT = 0.25
NAME_SIZE = 9.0


@dataclass(frozen=True, eq=False)
class Traces:
    """What is drawn, a channel a row.

    Attributes:
        values: `[C, S]`.
        names: of the channels.
        rows: those that are drawn, in order.
        patch, steps: samples of a token, and tokens of a channel.
        left, width, row: where the curves begin, how long they are and how high each is, in units of the drawing.
        valid: bool `[C, S]`, what is drawn at all; `None`: all.
    """

    values: NDArray[np.floating]
    names: Sequence[str]
    rows: NDArray[np.intp]
    patch: int
    steps: int
    left: float
    width: float
    row: float
    valid: NDArray[np.bool_] | None = None


def drawn(traces: Traces, marks: Marks) -> list[str]:
    """SVG elements: coloured cells, the curves (broken where tokens are hidden), outlines of blocks.

    Marks are of `[C * T]` cells, channel by channel.
    """
    cells = (len(traces.values), traces.steps)
    hidden = np.zeros(cells, bool) if marks.hidden is None else np.reshape(marks.hidden, cells)
    colour = colours(marks, cells)
    step, parts = traces.width / traces.steps, []
    for line, channel in enumerate(traces.rows.tolist()):
        for k in range(traces.steps):
            if colour is not None and np.isfinite(colour[channel, k]).all():
                x, y = traces.left + k * step, line * traces.row
                box = f'x="{x:.1f}" y="{y:.1f}" width="{step:.1f}" height="{traces.row:.1f}"'
                parts.append(f'<rect {box} fill="{rgb(colour[channel, k])}" stroke="none"/>')
    parts += _curves(traces, hidden, marks.faint)
    if marks.blocks is not None:
        for i, block in enumerate(np.reshape(marks.blocks, (-1, *cells))):
            at = f"translate({traces.left} 0) scale({step:.4f} {traces.row:.4f})"
            parts.append(
                f'<path d="{outline(block[traces.rows])}" transform="{at}" fill="none" stroke-width="1.5" '
                f'vector-effect="non-scaling-stroke" style="stroke:var(--s{i % COLOURS + 1})"/>'
            )
    return parts


def colours(marks: Marks, cells: tuple[int, int]) -> NDArray[np.floating] | None:
    """`[C, T, 3]`, NaN where a token has none."""
    if marks.error is not None:
        error = np.reshape(marks.error, cells)
        return np.where(np.isfinite(error)[..., None], against_even(error).astype(float), np.nan)
    if marks.colour is not None:
        found = np.reshape(marks.colour, (*cells, 3)).astype(float)
        unseen = np.zeros(cells, bool) if marks.hidden is None else np.reshape(marks.hidden, cells)
        return np.where(unseen[..., None], np.nan, found)
    return None


def rgb(colour: NDArray[np.floating]) -> str:
    """A colour as CSS writes it."""
    red, green, blue = np.round(colour).astype(int).tolist()
    return f"rgb({red} {green} {blue})"


def _curves(traces: Traces, hidden: NDArray[np.bool_], faint: bool) -> list[str]:
    """Names and lines, broken where tokens are hidden."""
    values = traces.values[:, : traces.patch * traces.steps].astype(float)
    shown = values[traces.rows] - np.median(values[traces.rows], 1, keepdims=True)
    loud = float(np.quantile(np.abs(shown), LOUD)) if shown.size else 1.0
    most = min(OF_TRACE, max(50, POINTS // max(1, len(traces.rows))))
    every = max(1, -(-shown.shape[1] // most))
    places = np.arange(0, shown.shape[1], every)
    x = traces.left + places / (traces.patch * traces.steps) * traces.width
    token = np.minimum(places // traces.patch, traces.steps - 1)
    parts = []
    for line, channel in enumerate(traces.rows.tolist()):
        middle = (line + 0.5) * traces.row
        y = middle - np.clip(shown[line, ::every] / max(loud, 1e-9), -1.5, 1.5) * traces.row * 0.5
        size = min(NAME_SIZE, traces.row)
        text = f'font-size="{size:.1f}" text-anchor="end" fill="currentColor" stroke="none"'
        parts.append(
            f'<text x="{traces.left - 4:g}" y="{middle + 3:.1f}" {text}>{escape(traces.names[channel])}</text>'
        )
        there = np.ones(len(x), bool) if traces.valid is None else traces.valid[channel, places]
        for unseen, opacity in ((False, 1.0), (True, FAINT)):
            if unseen and not faint:
                continue
            visible = (hidden[channel][token] == unseen) & there
            if visible.any():
                fine = f'transform="scale({1 / FINE:g})" stroke-width="{0.7 * FINE:g}"'
                parts.append(f'<path d="{_path(x, y, visible)}" {fine} stroke-opacity="{opacity:g}"/>')
    return parts


def _path(x: NDArray[np.floating], y: NDArray[np.floating], visible: NDArray[np.bool_]) -> str:
    """A line through the points that are drawn, lifted over the others, in steps of a `FINE`th."""
    parts, before = [], None
    points = zip(
        np.round(x * FINE).astype(int).tolist(), np.round(y * FINE).astype(int).tolist(), strict=True
    )
    for (a, b), shown in zip(points, visible.tolist(), strict=True):
        if shown:
            parts.append(f"M{a} {b}l" if before is None else f"{a - before[0]} {b - before[1]} ")
        before = (a, b) if shown else None
    return "".join(parts)

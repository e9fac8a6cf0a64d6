"""A series to look at: a curve a channel, with marks on its patches."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from openjepa.signals.pictures import Marks, Picture
from openjepa.signals.traces import Traces, drawn

WIDTH, NAMES, ROW, MOST = 640, 52, 30, 12
"""Of the curves and of their names, height of one, in units of the drawing; curves at most."""
LONE = 90
"""Height of a single curve."""


def picture(
    values: NDArray[np.floating],
    valid: NDArray[np.bool_],
    names: Sequence[str],
    patch: int,
    marks: Marks | None,
    *,
    each: bool,
) -> Picture:
    """Curves of values `[C, T]`.

    Args:
        each: whether marks are of every channel's patches, channel by channel, or of patches of all channels.
    """
    marks = marks or Marks()
    channels, length = values.shape
    steps = -(-length // patch)
    if not each:
        marks = _for_all(marks, channels)
    rows = np.arange(min(channels, MOST))
    row = LONE if len(rows) == 1 else ROW
    traces = Traces(values, names, rows, patch, steps, NAMES, WIDTH, row, valid)
    lines = "".join(
        f'<path d="M{NAMES + k * WIDTH / steps:.1f} 0v{row * len(rows)}" stroke-opacity="0.15"/>'
        for k in range(1, steps)
    )
    box = f"0 0 {NAMES + WIDTH + 4} {row * len(rows)}"
    style = 'style="width:100%;height:auto" fill="none" stroke="currentColor" stroke-width="0.9"'
    inside = lines + "".join(drawn(traces, marks))
    return Picture(drawing=f'<svg role="img" viewBox="{box}" {style}>{inside}</svg>', wide=True)


def _for_all(marks: Marks, channels: int) -> Marks:
    """Marks of patches as marks of every channel's patches."""
    return replace(
        marks,
        hidden=None if marks.hidden is None else np.tile(marks.hidden, channels),
        error=None if marks.error is None else np.tile(marks.error, channels),
        colour=None if marks.colour is None else np.tile(marks.colour, (channels, 1)),
        blocks=None if marks.blocks is None else np.tile(marks.blocks, (1, channels)),
    )

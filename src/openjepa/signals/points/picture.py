"""A cloud to look at: its points from a little above, nearer ones darker, with marks on its groups."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from openjepa.signals.pictures import COLOURS, Marks, Picture, against_even

SIDE, ROOM = 220, 4
"""Of the drawing and about it, in its units."""
DOT, LARGER = 2.6, 3.6
"""Diameter of a point, and of one that is marked."""
MOST = 1024
"""Points that are drawn at most."""
TURN, TILT = np.deg2rad(35), np.deg2rad(20)
"""From where it is seen: about the upright axis, and from above."""
FAINT, NEAR = 0.15, (0.35, 0.65, 1.0)
"""Opacity of what is hidden but faintly shown, and of points far away, between, and near."""


def picture(
    points: NDArray[np.floating], token: NDArray[np.integer], marks: Marks | None, up: int
) -> Picture:
    """Points `[P, 3]`, each with the number of its token `[P]`; `up` is the axis that points upwards."""
    marks = marks or Marks()
    points, token = points[:MOST], token[:MOST]
    across, height, depth = _seen(points, up)
    x = np.round(ROOM + (across + 1) / 2 * (SIDE - 2 * ROOM), 1)
    y = np.round(ROOM + (1 - height) / 2 * (SIDE - 2 * ROOM), 1)
    hidden = np.zeros(len(points), bool) if marks.hidden is None else np.asarray(marks.hidden, bool)[token]
    level = np.digitize(depth, [-0.3, 0.3])
    parts = []
    colours = _colours(marks, token)
    if colours is not None:
        known = np.isfinite(colours).all(1) & ~(hidden & (marks.error is None))
        parts += [_dots(x, y, ~known & ~hidden, "currentColor", DOT, FAINT)]
        whole = np.where(known[:, None], colours, 0).round().astype(int)
        for colour in np.unique(whole[known], axis=0):
            of_it = known & (whole == colour).all(1)
            parts.append(_dots(x, y, of_it, "rgb({} {} {})".format(*colour), LARGER, 1.0))
    else:
        for number, opacity in enumerate(NEAR):
            parts.append(_dots(x, y, (level == number) & ~hidden, "currentColor", DOT, opacity))
        if marks.faint:
            parts.append(_dots(x, y, hidden, "currentColor", DOT, FAINT))
    if marks.blocks is not None:
        for i, block in enumerate(np.asarray(marks.blocks, bool)):
            parts.append(_dots(x, y, block[token], f"var(--s{i % COLOURS + 1})", LARGER, 1.0))
    style = 'style="width:100%;height:auto" fill="none"'
    return Picture(drawing=f'<svg role="img" viewBox="0 0 {SIDE} {SIDE}" {style}>{"".join(parts)}</svg>')


def _seen(points: NDArray[np.floating], up: int) -> Sequence[NDArray[np.floating]]:
    """To the right, upwards and towards the viewer."""
    a, b, z = points[:, (up + 1) % 3], points[:, (up + 2) % 3], points[:, up]
    right, away = a * np.cos(TURN) - b * np.sin(TURN), a * np.sin(TURN) + b * np.cos(TURN)
    return right, z * np.cos(TILT) + away * np.sin(TILT), z * np.sin(TILT) - away * np.cos(TILT)


def _colours(marks: Marks, token: NDArray[np.integer]) -> NDArray[np.floating] | None:
    """`[P, 3]`, NaN where a token has none."""
    if marks.error is not None:
        error = np.asarray(marks.error)[token]
        return np.where(np.isfinite(error)[:, None], against_even(error).astype(float), np.nan)
    if marks.colour is not None:
        return np.asarray(marks.colour)[token].astype(float)
    return None


def _dots(
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    which: NDArray[np.bool_],
    colour: str,
    size: float,
    opacity: float,
) -> str:
    """One path of dots: lines without length and with round ends."""
    if not which.any():
        return ""
    places = "".join(f"M{a:g} {b:g}h0" for a, b in zip(x[which].tolist(), y[which].tolist(), strict=True))
    style = f"stroke:{colour};stroke-linecap:round"  # here, where no rule of the page outdoes it
    return f'<path d="{places}" style="{style}" stroke-width="{size:g}" stroke-opacity="{opacity:g}"/>'

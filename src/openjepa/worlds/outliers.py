"""Numbers that cannot be meant: infinite ones, and single ones that dwarf all others."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FACTOR = 1e4
"""A number is outlying that lies so many times farther from the median than almost all others do."""
LEAST = 1e-3
"""Noise below this does not make what rarely moves outlying."""
SHARE = 1e-3
"""Share of the numbers, at least two, that may be outlying."""


def outlying(parts: Sequence[NDArray[np.float32]], what: str) -> dict[int, str]:
    """Parts (episodes) with a number that would drown all others in mean and spread, and what it is.

    Args:
        parts: `[N, A]` each; NaN is a missing number.
        what: they are, for the reason.
    """
    found: dict[int, str] = {}
    if not parts or parts[0].shape[1] == 0:
        return found
    middle, reach = _spread(np.concatenate(parts))
    for i, rows in enumerate(parts):
        with np.errstate(over="ignore"):
            far = np.isinf(rows) | (np.abs(rows - middle) > FACTOR * reach)
        if far.any():
            step, number = (int(k) for k in np.argwhere(far)[0])
            value = rows[step, number]
            where = f"number {number} of its {what} at step {step} is {value:g}"
            found[i] = (
                f"{where}, others lie within {reach[number]:.3g} of {middle[number]:.3g}; NaN marks a missing one"
            )
    return found


def _spread(rows: NDArray[np.float32]) -> tuple[NDArray, NDArray]:
    """`[A]` each: the median, and how far from it almost all numbers lie; infinite where they hardly differ."""
    middle, reach = np.zeros(rows.shape[1]), np.full(rows.shape[1], np.inf)
    for k, column in enumerate(rows.T.astype(np.float64)):
        known = column[np.isfinite(column)]
        if len(known) == 0:
            continue
        middle[k] = np.median(known)
        away = np.abs(known - middle[k])
        last = len(away) - 1 - max(2, round(SHARE * len(away)))
        if last >= 0 and (most := float(np.partition(away, last)[last])) > 0:
            reach[k] = max(most, LEAST)
    return middle, reach

"""Named factors of variation: what may differ between episodes, and what is kept for generalisation tests."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openjepa.errors import UserError

AGENTS = [(38, 100, 210), (30, 150, 60), (235, 130, 20), (130, 60, 180)], [(230, 40, 160), (0, 165, 185)]
"""Colours of what moves: seen, held out."""
GROUNDS = (
    [(245, 245, 240), (228, 238, 250), (250, 240, 222), (232, 248, 230)],
    [(250, 224, 234), (222, 220, 250)],
)
"""Colours of the ground, all pale."""
WALLS = [(60, 62, 72), (38, 62, 96), (88, 62, 46), (48, 80, 60)], [(92, 46, 90), (16, 16, 18)]
"""Colours of what stands still, all dark."""

DANGER = np.array([225.0, 60.0, 50.0])
"""Colour of dangerous zones; no agent has it."""


@dataclass(frozen=True, eq=False)
class Factor:
    """One property of an episode: a number, or a vector such as a colour (red, green, blue in 0..255).

    Attributes:
        meaning: what it is, with its unit.
        default: its value where it does not vary.
        seen: `[K, ...]`, the values that episodes for training draw from.
        held_out: `[K, ...]`, values kept for generalisation tests; none of them is in `seen`.
        bounds: least and greatest number that a user may fix it to; by default those of its listed values.
    """

    meaning: str
    default: ArrayLike
    seen: NDArray
    held_out: NDArray
    bounds: tuple[float, float] | None = None

    def draw(self, n: int, rng: np.random.Generator, held_out: bool = False) -> NDArray:
        """`[n, ...]`, uniform over one of the two lists."""
        pool = self.held_out if held_out else self.seen
        return pool[rng.integers(len(pool), size=n)]

    def fix(self, name: str, value: Any, n: int) -> NDArray:
        """One value for all of n worlds, or `[n, ...]`, one each.

        Raises:
            UserError: of another shape, not finite, or out of bounds.
        """
        shape = self.seen.shape[1:]
        try:
            given = np.asarray(value, np.float64)
            array = np.broadcast_to(given, (n, *shape))
        except (TypeError, ValueError):
            raise UserError(f"factor {name!r} is {self._form()}, not {value!r}") from None
        low, high = self.range
        if given.shape not in (shape, (n, *shape)) or not np.all((array >= low) & (array <= high)):
            raise UserError(f"factor {name!r} is {self._form()} in {low:g}..{high:g}, not {value!r}")
        return array.astype(self.seen.dtype)

    @property
    def range(self) -> tuple[float, float]:
        """Least and greatest number allowed."""
        listed = np.concatenate([self.seen.ravel(), self.held_out.ravel()])
        return self.bounds or (float(listed.min()), float(listed.max()))

    def _form(self) -> str:
        shape = self.seen.shape[1:]
        return f"{shape[0]} numbers" if shape else "a number"


def numbers(meaning: str, default: float, seen: ArrayLike, held_out: ArrayLike) -> Factor:
    """A factor whose values are numbers."""
    return Factor(meaning, default, np.asarray(seen, np.float64), np.asarray(held_out, np.float64))


def colour(meaning: str, palette: tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]) -> Factor:
    """A factor whose values are colours; the first one seen is its default."""
    seen, held_out = (np.asarray(colours, np.float64) for colours in palette)
    return Factor(meaning, seen[0], seen, held_out, bounds=(0, 255))


def unknown(what: str, name: object, known: Iterable[str]) -> UserError:
    """The error for a name that does not exist, with the nearest that does."""
    known = list(known)
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.3)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return UserError(f"unknown {what} {name!r}, known are {', '.join(known) or 'none'}{hint}")

"""Spaces of actions: bounded numbers, or one of a few choices."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openjepa.errors import UserError


@dataclass(frozen=True, eq=False)
class Box:
    """Continuous actions between two bounds.

    Attributes:
        low: `[A]` float32.
        high: `[A]` float32.
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]

    @staticmethod
    def symmetric(bound: float, size: int) -> "Box":
        """`size` numbers in -bound..bound."""
        high = np.full(size, bound, np.float32)
        return Box(-high, high)

    @property
    def size(self) -> int:
        """A, the numbers in an action."""
        return len(self.low)

    def clip(self, actions: ArrayLike) -> NDArray[np.float32]:
        """`[..., A]` within the bounds."""
        return np.clip(np.asarray(actions, np.float32), self.low, self.high)


def checked(who: str, actions: ArrayLike, space: "Box | int", n: int) -> NDArray:
    """`[n, A]` float64 within the bounds, or `[n]` integers below the count.

    Raises:
        UserError: of another shape, out of range or not finite; named `who`.
    """
    given = np.asarray(actions)
    if isinstance(space, int):
        if given.shape != (n,) or not np.issubdtype(given.dtype, np.integer):
            raise UserError(f"{who}: actions are {n} integers, not {given.dtype} of shape {given.shape}")
        if given.min() < 0 or given.max() >= space:
            raise UserError(f"{who}: actions are 0..{space - 1}, not {given.min()}..{given.max()}")
        return given
    if given.shape != (n, space.size):
        raise UserError(f"{who}: actions have shape {(n, space.size)}, not {given.shape}")
    slack = 1e-5 * (space.high - space.low)  # what float32 may add to a bound
    if not np.all((given >= space.low - slack) & (given <= space.high + slack)):  # false for NaN as well
        worst = "NaN" if np.isnan(given).any() else f"{given.min():g}..{given.max():g}"
        raise UserError(
            f"{who}: actions are within {space.low}..{space.high}, not {worst}; actions.clip() helps"
        )
    return np.clip(given, space.low, space.high).astype(np.float64)

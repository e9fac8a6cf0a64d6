"""The state of n worlds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class State:
    """n worlds at one instant; every array has n as its leading dimension.

    Attributes:
        values: `[n, V]` float64, what changes in an episode.
        factors: name to `[n, ...]`, what stays: colours, sizes, layout.
    """

    values: NDArray
    factors: Mapping[str, NDArray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, indices: ArrayLike | slice) -> "State":
        """Some of the worlds: an array of indices, a mask `[n]` or a slice."""
        index = indices if isinstance(indices, slice) else np.atleast_1d(np.array(indices))
        if isinstance(index, np.ndarray) and index.size == 0:
            index = index.astype(np.int64)  # an empty list makes an array of floats
        return State(self.values[index], {name: array[index] for name, array in self.factors.items()})

    def repeat(self, times: int) -> "State":
        """Every world `times` times, its copies next to one another: `[n * times]`."""
        return self.take(np.repeat(np.arange(len(self)), times))

    def put(self, indices: ArrayLike, other: "State") -> "State":
        """These worlds with those at `indices` replaced by `other`'s, in order."""
        index = np.asarray(indices)
        values = self.values.copy()
        values[index] = other.values
        factors = {name: array.copy() for name, array in self.factors.items()}
        for name, array in factors.items():
            array[index] = other.factors[name]
        return State(values, factors)

    @staticmethod
    def concatenate(states: Sequence["State"]) -> "State":
        """Worlds of one kind, one after the other."""
        factors = {name: np.concatenate([s.factors[name] for s in states]) for name in states[0].factors}
        return State(np.concatenate([s.values for s in states]), factors)

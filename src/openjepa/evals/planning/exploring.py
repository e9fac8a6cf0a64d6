"""Exploration, measured: how much of what can be reached an episode has been to."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openjepa.errors import UserError
from openjepa.evals.planning.play import CHANCE, Player, Problems
from openjepa.evals.table import student, wilson
from openjepa.worlds import State
from openjepa.worlds.geometry import inside
from openjepa.worlds.planar import Planar

CELLS = 12
"""Rows and columns into which a world is divided."""


@dataclass(frozen=True)
class Explored:
    """Shares of the free cells that were entered, 0..1.

    Attributes:
        shares: of each episode.
    """

    method: str
    shares: tuple[float, ...]

    @property
    def mean(self) -> float:
        return math.fsum(self.shares) / len(self.shares)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the mean over episodes, Student's."""
        return student(self.shares)

    def beats(self, other: "Explored") -> tuple[float, tuple[float, float]]:
        """Share of the episodes in which this saw more than the other from the same start, with Wilson's interval."""
        wins = sum(mine > theirs for mine, theirs in zip(self.shares, other.shares, strict=True))
        return wins / len(self.shares), wilson(wins, len(self.shares))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, mean and interval included."""
        return {**asdict(self), "mean": self.mean, "interval": list(self.interval)}


def explore(player: Player, given: Problems, steps: int, seed: int) -> NDArray[np.float64]:
    """Let someone act without an end; the share of its free cells that each episode entered, `[n]`.

    A cell counts as free where its middle is. The goals are those of the problems; an explorer ignores them.

    Args:
        steps: of the environment.
        seed: of what the world leaves to chance.

    Raises:
        UserError: a world that is no plane.
    """
    world, state, n = given.world, given.start, len(given)
    if not isinstance(world, Planar):
        raise UserError(f"{world.name} is no plane to be divided into cells: measure two-rooms or maze")
    rng, active = np.random.default_rng([seed, CHANCE, given.numbers[0]]), np.ones(n, bool)
    been = np.zeros((n, CELLS, CELLS), bool)
    player.begin(given)
    for step in range(steps + 1):
        cell = np.clip(state.values[:, :2] / world.arena * CELLS, 0, CELLS - 1).astype(int)
        been[np.arange(n), cell[:, 0], cell[:, 1]] = True
        if step < steps:
            frames = world.render(state) if player.sees else None
            state = world.step(state, np.asarray(player.act(state, frames, active)), rng)
    free = free_cells(world, given.start)
    return (been & free).sum((1, 2)) / free.sum((1, 2))


def free_cells(world: Planar, state: State) -> NDArray:
    """Cells whose middle is in no wall, `[n, CELLS, CELLS]` by column and row."""
    middle = (np.arange(CELLS) + 0.5) * world.arena / CELLS
    barriers, n = world.barriers(state.factors), len(state)
    columns: Sequence[NDArray] = [~inside(np.tile([x, y], (n, 1)), barriers) for x in middle for y in middle]
    return np.stack(columns, 1).reshape(n, CELLS, CELLS)

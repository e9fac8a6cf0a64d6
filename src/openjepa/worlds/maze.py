"""A maze seen from above: generated layouts from a single U to large ones, continuous displacements.

After PLDM's Diverse Maze (arXiv:2502.14819) and HWM (arXiv:2604.03208): training on 25 layouts, goals by their distance
in cells, new layouts for generalisation. Ours differs: walls are thin, so that rooms are wide in a small picture; every
layout is a perfect maze, so that the way is unique; an action is a displacement and not a force, so nothing has a
velocity.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from openjepa.errors import UserError
from openjepa.worlds.factors import Factor
from openjepa.worlds.geometry import sees
from openjepa.worlds.layouts import Layouts, layouts
from openjepa.worlds.planar import Planar
from openjepa.worlds.registry import register
from openjepa.worlds.state import State

WALL = 2.0
"""Thickness of walls, units."""
SEEN = 500
"""The most layouts that may be seen."""


@register("maze")
@dataclass(frozen=True)
class Maze(Planar):
    """By default the layout is one of `seen` (`vary=()` keeps the first). The disc slides along walls.

    Args:
        rooms: rooms along a side, 2 (a U) to 6; the longest way of 4 x 4 rooms is 15 rooms, with many turns.
        seen: layouts for training; as many others are held out. 2 x 2 rooms have only four layouts: three and one.
    """

    vary: tuple[str, ...] = ("layout",)
    rooms: int = 4
    seen: int = 25

    slides: ClassVar[bool] = True
    layout: ClassVar[tuple[str, ...]] = ("layout",)
    difficulty: ClassVar[Mapping[str, Any]] = {"distance": (1, np.inf), "turns": 0}
    """Steps from room to room on the way, from and to; the least number of turns on it."""

    def __post_init__(self) -> None:
        if not 2 <= self.rooms <= 6:
            raise UserError(f"maze: rooms is 2..6, not {self.rooms}")
        if not 1 <= self.seen <= SEEN:
            raise UserError(f"maze: seen is 1..{SEEN} layouts, not {self.seen}")
        super().__post_init__()

    @cached_property
    def layouts(self) -> Layouts:
        """All of them, those held out last."""
        return layouts(self.rooms, 4 if self.rooms == 2 else 2 * self.seen)

    @cached_property
    def factors(self) -> Mapping[str, Factor]:
        numbers = np.arange(len(self.layouts))
        first = min(self.seen, 3) if self.rooms == 2 else self.seen
        layout = Factor("number of the layout", 0, numbers[:first], numbers[first:])
        return {"layout": layout, **self.looks}

    @property
    def pitch(self) -> float:
        """Distance from a room's middle to its neighbour's; whole units, so that walls are sharp in frames of 64
        pixels."""
        return (self.arena - WALL) // self.rooms

    @property
    def _origin(self) -> float:
        """Place where the first room's row and column of pitch begin; what division leaves thickens the border."""
        return (self.arena - WALL - self.pitch * self.rooms) // 2 + WALL / 2 - 0.5

    @cached_property
    def middles(self) -> NDArray:
        """`[R, 2]`, the rooms' middles."""
        row, column = np.divmod(np.arange(self.rooms**2), self.rooms)
        return (np.stack([column, row], 1) + 0.5) * self.pitch + self._origin

    @cached_property
    def _walls(self) -> NDArray:
        """`[L, R, 4]`: the border, then the walls between rooms, each from post to post."""
        one, other = self.layouts.closed()
        middle = (self.middles[one] + self.middles[other]) / 2
        reach = np.where((other - one == 1)[..., None], (WALL, self.pitch + WALL), (self.pitch + WALL, WALL))
        inner = np.concatenate([middle - reach / 2, middle + reach / 2], -1)
        a, b = -WALL, self.arena + WALL
        low = self._origin + WALL / 2
        high = low + self.pitch * self.rooms - WALL
        border = [(a, a, low, b), (high, a, b, b), (a, a, b, low), (a, high, b, b)]
        return np.concatenate([np.broadcast_to(border, (len(inner), 4, 4)), inner], 1)

    def boxes(self, factors: Mapping[str, NDArray]) -> NDArray:
        return self._walls[factors["layout"]]

    def barriers(self, factors: Mapping[str, NDArray]) -> NDArray:
        return self.boxes(factors) + factors["agent_radius"][:, None, None] * np.array([-1, -1, 1, 1])

    def start(self, factors: Mapping[str, NDArray], n: int, rng: Generator) -> NDArray:
        return self._somewhere(rng.integers(self.rooms**2, size=n), factors, rng)

    def propose(self, state: State, rng: Generator, wanted: Mapping[str, Any]) -> tuple[NDArray, NDArray]:
        layout, room = state.factors["layout"], self.room(state)
        steps, bends = self.layouts.steps[layout, room], self.layouts.turns[layout, room]
        low, high = wanted["distance"]
        fit = (steps >= low) & (steps <= high) & (bends >= wanted["turns"])
        chosen = np.where(fit, rng.random(fit.shape), -1).argmax(1)
        return self._somewhere(chosen, state.factors, rng), fit.any(1)

    def room(self, state: State) -> NDArray[np.int64]:
        """Which room each agent is in, `[n]`."""
        column, row = ((state.values - self._origin) / self.pitch).astype(np.int64).clip(0, self.rooms - 1).T
        return row * self.rooms + column

    def separation(self, state: State, goal: State) -> NDArray:
        """Through the middles of the rooms between; straight where the goal is in sight."""
        here, there, after, before = self._ends(state, goal)
        straight = np.linalg.norm(goal.values - state.values, axis=1)
        into = np.linalg.norm(self.middles[after] - state.values, axis=1)
        out = np.linalg.norm(goal.values - self.middles[before], axis=1)
        between = self.pitch * np.maximum(self.layouts.steps[state.factors["layout"], here, there] - 2, 0)
        return np.where(self._straight(state, goal, here, there), straight, into + between + out)

    def expert(self, state: State, goal: State, cautious: ArrayLike = False) -> NDArray:
        here, there, after, _ = self._ends(state, goal)
        straight = self._straight(state, goal, here, there)
        return self.towards(state, np.where(straight[:, None], goal.values, self.middles[after]))

    def _ends(self, state: State, goal: State) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        """Rooms, `[n]` each: here, there, the next one and the one before the last."""
        here, there, layout = self.room(state), self.room(goal), state.factors["layout"]
        following = self.layouts.following
        return here, there, following[layout, here, there], following[layout, there, here]

    def _straight(self, state: State, goal: State, here: NDArray, there: NDArray) -> NDArray:
        """Neighbouring rooms with a door are one rectangle, so a goal there is in sight by construction."""
        close = self.layouts.steps[state.factors["layout"], here, there] <= 1
        return close | sees(state.values, goal.values, self.barriers(state.factors))

    def _somewhere(self, room: NDArray, factors: Mapping[str, NDArray], rng: Generator) -> NDArray:
        """`[n, 2]` uniform in a room, clear of its walls."""
        half = self.pitch / 2 - WALL / 2 - factors["agent_radius"][:, None]
        return self.middles[room] + (2 * rng.random((len(room), 2)) - 1) * half * 0.98

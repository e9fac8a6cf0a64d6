"""A world that forks at random: the short way to the goal leads into rapids, which take one of several branches.

For latent variables: at the rapids' mouth, several futures follow the same picture and action, and one of them leads
through danger. The long way round is slower, certain and safe. So a model that predicts the mean of the futures sees
neither branch, and a planner that knows them can choose not to take the risk.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from openjepa.errors import UserError
from openjepa.worlds.factors import DANGER, Factor, colour
from openjepa.worlds.geometry import shortest
from openjepa.worlds.planar import Planar
from openjepa.worlds.raster import blend, boxes_mask, capsule_mask, paint
from openjepa.worlds.registry import register
from openjepa.worlds.state import State

LOW, HIGH = 3.5, 59.5
"""Inner faces of the border."""
MOUTH, END = 19.5, 43.5
"""x at which the rapids take hold and let go."""
MIDDLE, HALF = 22.5, 4.0
"""y of the rapids' mouth and end, and half their width."""
TOP, BOTTOM = 8.5, 36.5
"""y of the outermost branches."""
GRIP = 0.05
"""Distance from the mouth at which the rapids take hold, units."""
ROAD = 47.5
"""y from which on the way between left and right is open."""
FLOW = 3.0
"""Speed of the rapids, units a step; what the agent does makes no difference in them."""
BEGIN = 7.0, 28.0
"""y of starts and goals: from there the rapids are the shorter way, whichever branch they take."""
CLEAR = 3.0
"""Gap between starts or goals and anything to the left or right."""
WATER = [(170, 212, 242), (178, 226, 222)], [(196, 200, 240)]


@register("branch")
@dataclass(frozen=True)
class Branch(Planar):
    """Starts are on the left, goals on the right. By default the risky branch is another one in every episode.

    Args:
        branches: K, 2 to 4.
        risk: probability of the risky branch; the others share the rest equally.
    """

    vary: tuple[str, ...] = ("risky",)
    max_steps: int = 60
    branches: int = 2
    risk: float = 0.5

    variables: ClassVar[tuple[str, ...]] = ("x", "y", "branch")
    """The branch is 1..K in the rapids, 0 elsewhere."""
    layout: ClassVar[tuple[str, ...]] = ("risky",)

    def __post_init__(self) -> None:
        if not 2 <= self.branches <= 4:
            raise UserError(f"branch: branches is 2..4, not {self.branches}")
        if not 0 <= self.risk <= 1:
            raise UserError(f"branch: risk is a probability, not {self.risk}")
        super().__post_init__()

    @cached_property
    def factors(self) -> Mapping[str, Factor]:
        every = np.arange(self.branches)
        risky = Factor("which branch leads through danger, counted from the top", 0, every, every[:0])
        return {"risky": risky, "water_colour": colour("colour of the rapids", WATER), **self.looks}

    @cached_property
    def _branches(self) -> NDArray:
        """`[K, 4, 2]`: every branch's corners."""
        y = np.linspace(TOP, BOTTOM, self.branches)
        x = np.array([MOUTH, MOUTH + 6, END - 6, END])
        return np.stack([np.stack([x, [MIDDLE, lane, lane, MIDDLE]], 1) for lane in y])

    @cached_property
    def _lengths(self) -> NDArray:
        """`[K, 4]`: the way along each branch to its corners."""
        legs = np.linalg.norm(np.diff(self._branches, axis=1), axis=-1)
        return np.concatenate([np.zeros((self.branches, 1)), legs.cumsum(1)], 1)

    @cached_property
    def _zones(self) -> NDArray:
        """`[K, 4]`: each branch's straight part, dangerous where it is the risky one."""
        return np.stack([[x0, y - HALF, x1, y + HALF] for (x0, y), (x1, _) in self._branches[:, 1:3]])

    @cached_property
    def _rapids(self) -> NDArray:
        """`[1, size, size]`: where there is water."""
        legs = self._branches[:, :-1].reshape(-1, 2), self._branches[:, 1:].reshape(-1, 2)
        masks = capsule_mask(*legs, np.full(len(legs[0]), HALF), self.size, self.arena)
        basin = MOUTH + 2, LOW, END - 2, ROAD
        mouths = [(x, MIDDLE - HALF, x + 2, MIDDLE + HALF) for x in (MOUTH, END - 2)]
        return masks.max(0, keepdims=True) * boxes_mask(np.array([[basin, *mouths]]), self.size, self.arena)

    def boxes(self, factors: Mapping[str, NDArray]) -> NDArray:
        """The border and the block between left and right; the water is painted over it."""
        a, b = -1.0, self.arena
        border = [(a, a, LOW, b), (HIGH, a, b, b), (a, a, b, LOW), (a, HIGH, b, b)]
        return np.broadcast_to([*border, (MOUTH, a, END, ROAD)], (len(factors["risky"]), 5, 4))

    def start(self, factors: Mapping[str, NDArray], n: int, rng: Generator) -> NDArray:
        return _within(LOW + CLEAR, MOUTH - CLEAR, n, rng)

    def propose(self, state: State, rng: Generator, wanted: Mapping[str, Any]) -> tuple[NDArray, NDArray]:
        return _within(END + CLEAR, HIGH - CLEAR, len(state), rng), np.ones(len(state), bool)

    def advance(self, state: State, actions: NDArray, rng: Generator) -> NDArray:
        drawn = self._fork(state, rng)
        values, carried = state.values.copy(), state.values[:, 2] > 0
        walked = super().advance(State(values[:, :2], state.factors), actions, rng)
        values[~carried, :2] = walked[~carried]
        x, y = values[:, 0], values[:, 1]
        enters = ~carried & (x > MOUTH - GRIP) & (x <= MOUTH) & (np.abs(y - MIDDLE) < HALF)
        values[enters] = np.stack([np.full(len(x), MOUTH), np.full(len(x), MIDDLE), drawn], 1)[enters]
        for k in range(self.branches):
            here = values[:, 2] == k + 1
            values[here] = self._carried(values[here], k)
        return values

    def _fork(self, state: State, rng: Generator) -> NDArray:
        """Which branch each world would take now, 1..K, `[n]`."""
        chance = np.full((len(state), self.branches), (1 - self.risk) / (self.branches - 1))
        chance[np.arange(len(state)), state.factors["risky"]] = self.risk
        return 1 + (rng.random((len(state), 1)) >= chance.cumsum(1)[:, :-1]).sum(1)

    def _carried(self, values: NDArray, branch: int) -> NDArray:
        """One step down a branch, to its end at most."""
        corners, lengths = self._branches[branch], self._lengths[branch]
        gone = np.interp(values[:, 0], corners[:, 0], lengths) + FLOW
        x, y = (np.interp(gone, lengths, corners[:, axis]) for axis in (0, 1))
        out = gone >= lengths[-1]
        return np.stack([x + out, y, np.where(out, 0, values[:, 2])], 1)

    def settle(self, state: State, variables: NDArray) -> NDArray:
        branch = variables[:, 2]
        if not np.isin(branch, np.arange(self.branches + 1)).all():
            raise UserError(f"branch: the branch is 0..{self.branches}, not {branch[0]:g}")
        free = branch == 0
        if free.any():
            super().settle(state.take(free), variables[free])
        return variables

    def reached(self, state: State, goal: State) -> NDArray:
        return super().reached(state, goal) & (state.values[:, 2] == 0)

    def danger(self, state: State) -> NDArray:
        zone, x = self._zones[state.factors["risky"]], state.values[:, 0]
        risky = state.values[:, 2] == state.factors["risky"] + 1
        return risky & (x >= zone[:, 0]) & (x <= zone[:, 2])

    def separation(self, state: State, goal: State) -> NDArray:
        """Length of the way by the rapids (in the mean) or round the block, whichever is shorter."""
        return np.minimum(self._rapids_way(state, goal)[0], self._way(state.values, goal.values)[0])

    def expert(self, state: State, goal: State, cautious: ArrayLike = False) -> NDArray:
        """The shorter way; where `cautious`, the one round the block."""
        rapids, mouth = self._rapids_way(state, goal)
        road, corner = self._way(state.values, goal.values)
        risks = (rapids < road) & ~np.broadcast_to(cautious, len(state))
        return self.towards(state, np.where(risks[:, None], mouth, corner))

    def _way(self, start: NDArray, end: NDArray) -> tuple[NDArray, NDArray]:
        """The way on land: length, and the point to go to first."""
        n = len(start)
        corners = np.broadcast_to([(MOUTH - 0.5, ROAD + 0.5), (END + 0.5, ROAD + 0.5)], (n, 2, 2))
        nodes = np.concatenate([start[:, None, :2], corners, end[:, None, :2]], 1)
        return shortest(nodes, self.boxes({"risky": np.zeros(n)}))

    def _rapids_way(self, state: State, goal: State) -> tuple[NDArray, NDArray]:
        values, n = state.values, len(state)
        mouth, end = (np.broadcast_to([(x, MIDDLE)], (n, 2)) for x in (MOUTH - GRIP / 2, END + 1))
        before, first = self._way(values, mouth)
        after = self._way(end, goal.values)[0]
        along = np.full(n, self._lengths[:, -1].mean())
        for k in range(self.branches):
            here = values[:, 2] == k + 1
            before[here] = 0
            along[here] = self._lengths[k, -1] - np.interp(
                values[here, 0], self._branches[k, :, 0], self._lengths[k]
            )
        return before + along + after, first

    def scene(self, state: State) -> NDArray[np.float32]:
        factors = state.factors
        canvas = paint(
            boxes_mask(self.boxes(factors), self.size, self.arena),
            factors["ground_colour"],
            factors["wall_colour"],
        )
        blend(canvas, self._rapids, factors["water_colour"])
        zone = boxes_mask(self._zones[factors["risky"]][:, None], self.size, self.arena)
        blend(canvas, zone, np.broadcast_to(DANGER, (len(state), 3)))
        return canvas


def _within(low: float, high: float, n: int, rng: Generator) -> NDArray:
    """`[n, 3]` places on land, x in low..high."""
    place = rng.random((n, 2)) * [high - low, BEGIN[1] - BEGIN[0]] + [low, BEGIN[0]]
    return np.concatenate([place, np.zeros((n, 1))], 1)

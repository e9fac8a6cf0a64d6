"""A tiny Gymnasium environment of somebody else's: a point in a square, in three flavours of trouble."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class Point(gymnasium.Env):
    """Its observation is its place `[2]`; a picture of 24 x 32 shows it. The seed draws the start.

    Args:
        discrete: four moves, counted from 1, in the place of a velocity.
        breaks: raises at this step of every second episode (by its seed).
        ends: terminates, rewarded, when x exceeds this.
        says: whether `info` tells of success.
        steady: whether the start is a function of the seed.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(
        self,
        render_mode: str | None = None,
        discrete: bool = False,
        breaks: int = 0,
        ends: float = 9.0,
        says: bool = False,
        steady: bool = True,
    ) -> None:
        self.render_mode, self.discrete, self.breaks, self.says = render_mode, discrete, breaks, says
        self.ends, self.steady, self.count = ends, steady, 0
        self.observation_space = spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = spaces.Discrete(4, start=1) if discrete else spaces.Box(-2, 2, (1, 2), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.count += 1
        self.odd, self.t = bool((seed or 0) % 2), 0
        self.place = self.np_random.uniform(-0.5, 0.5, 2) + (0 if self.steady else 0.01 * self.count)
        return self.place.astype(np.float32), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        if self.breaks and self.odd and self.t == self.breaks:
            raise RuntimeError("the motor is hot")
        assert self.action_space.contains(action)
        moves = [(1, 0), (-1, 0), (0, 1), (0, -1)]
        move = np.array(moves[action - 1]) if self.discrete else action[0] / 2
        self.place = np.clip(self.place + 0.1 * move, -1, 1)
        over = bool(self.place[0] > self.ends)
        return self.place.astype(np.float32), float(over), over, False, {"success": over} if self.says else {}

    def render(self) -> Any:
        picture = np.full((24, 32, 3), 200, np.uint8)
        row, column = ((self.place + 1) * 11).astype(int)
        picture[row : row + 3, 4 + column : 7 + column] = 0
        return picture


class Blind(Point):
    """Renders nothing."""

    metadata = {"render_modes": ["human"]}  # noqa: RUF012


class Split(Point):
    """Takes two choices at a time."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.action_space = spaces.MultiDiscrete([2, 2])  # ty: ignore[invalid-assignment]


for name, kind in (("Point", Point), ("Blind", Blind), ("Split", Split)):
    gymnasium.register(f"test-boxes/{name}-v0", entry_point=kind, max_episode_steps=30)

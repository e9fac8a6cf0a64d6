"""Small sets of episodes whose every number tells where it belongs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from openjepa.worlds.base import World
from openjepa.worlds.episodes import Episode, Episodes
from openjepa.worlds.factors import Factor, numbers
from openjepa.worlds.records import EpisodeRecording, Raw, settle
from openjepa.worlds.state import State

SIDE = 16


def frames_of(number: int, count: int, side: int = SIDE, channels: int = 3) -> NDArray[np.uint8]:
    """Episode `number`'s frames: the first channel says the step, the second the episode."""
    frames = np.zeros((count, channels, side, side), np.uint8)
    frames[:, 0] = np.arange(count)[:, None, None]
    frames[:, 1 % channels] += np.uint8(number)
    return frames


def episode(number: int, length: int) -> Episode:
    """Actions are (episode, step), states the step plus 100 times the episode."""
    steps = np.arange(length, dtype=np.float32)
    actions = np.stack([np.full(length, number, np.float32), steps], 1)
    state = (100 * number + np.arange(length + 1, dtype=np.float32))[:, None]
    info = {"seed": 7, "factors": {"door": float(number), "colour": np.array([1.0, 2.0, 3.0])}}
    danger = np.arange(length + 1) % 2 == 0
    return Episode(frames_of(number, length + 1), actions, state, {**info, "danger": danger})


class Memory:
    """A source that keeps everything."""

    def __init__(self, frames: list[NDArray[np.uint8]]) -> None:
        self.kept = frames

    def frames(self, number: int, first: int, stop: int) -> NDArray[np.uint8]:
        if len(self.kept[number]) == 0:
            raise OSError("bad sector")
        return self.kept[number][first:stop]

    def info(self, number: int) -> dict[str, Any]:
        return {"number": number}


def recording(lengths: list[int], missing: dict[int, list[int]] | None = None) -> EpisodeRecording:
    """Episodes as `episode` makes them; `missing` names steps whose action is NaN."""
    made = [episode(i, length) for i, length in enumerate(lengths)]
    for i, steps in (missing or {}).items():
        made[i].actions[steps] = np.nan
    raws = [Raw(f"episode {i}", len(e.frames), e.actions, e.state) for i, e in enumerate(made)]
    return settle("a set", raws, Memory([e.frames for e in made]), [], variables=("place",))


def episodes(lengths: list[int], missing: dict[int, list[int]] | None = None, **options: Any) -> Episodes:
    """The same, opened."""
    return Episodes(recording(lengths, missing), **options)


@dataclass(frozen=True)
class Line(World):
    """A point on a line that goes left, stays, or goes right; it raises when it comes to `cliff`."""

    size: int = 16
    max_steps: int = 12
    cliff: int = 99

    name = "line"
    variables = ("x",)

    @property
    def actions(self) -> int:
        return 3

    @property
    def factors(self) -> dict[str, Factor]:
        return {"grey": numbers("of the ground", 10, [10, 20], [30])}

    def start(self, factors: Any, n: int, rng: Generator) -> NDArray:
        return rng.integers(4, 12, (n, 1)).astype(float)

    def advance(self, state: State, actions: NDArray, rng: Generator) -> NDArray:
        x = np.clip(state.values + actions[:, None] - 1, 0, 15)
        if (x >= self.cliff).any():
            raise RuntimeError("over the cliff")
        return x

    def render(self, state: State) -> NDArray[np.uint8]:
        frames = np.tile(state.factors["grey"].astype(np.uint8)[:, None, None, None], (1, 3, 16, 16))
        frames[np.arange(len(state)), :, :, state.values[:, 0].astype(int)] = 255
        return frames

    def propose(self, state: State, rng: Generator, wanted: Any) -> tuple[NDArray, NDArray]:
        return np.full_like(state.values, 15), np.ones(len(state), bool)

    def separation(self, state: State, goal: State) -> NDArray:
        return np.abs(state.values - goal.values)[:, 0]

    def reached(self, state: State, goal: State) -> NDArray:
        return self.separation(state, goal) == 0

    def expert(self, state: State, goal: State, cautious: Any = False) -> NDArray:
        return (1 + np.sign(goal.values - state.values)[:, 0]).astype(np.int64)

"""Episodes of a player that acts in n worlds at once, all in step; each ends at its goal, at an error or by its
budget."""

import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from openjepa.agent.perception import proprio_dim_of
from openjepa.worlds import State, World

if TYPE_CHECKING:
    pass

TASKS, CHANCE = 1, 2
"""Streams of random numbers: of starts and goals, of what a world leaves to chance."""


@dataclass(frozen=True, eq=False)
class Problems:
    """n starts with their goals.

    Attributes:
        numbers: `[n]`, of the episodes.
        start, goal: n worlds each, of the same layouts.
        steps_at_goal: environment steps in a row that must be spent at the goal.
    """

    world: World
    numbers: list[int]
    start: State
    goal: State
    steps_at_goal: int = field(default=1, kw_only=True)

    def __len__(self) -> int:
        return len(self.numbers)

    def known(self, state: State, model: object) -> NDArray[np.float32] | None:
        """The physical variables `[n, P]`, for a model that takes proprioception; `None` for any other."""
        return self.world.observe(state) if proprio_dim_of(model) else None

    def begin(self, player: "Player", seed: int) -> "Underway":
        """An episode of each; `seed`: of what the world leaves to chance."""
        return Underway(player, self, np.random.default_rng([seed, CHANCE, self.numbers[0]]))


@dataclass(frozen=True)
class EpisodeOutcome:
    """The outcome of one episode; equal where everything is but the seconds.

    Attributes:
        number: of the episode.
        success: whether the goal was reached by acting, and kept for as long as was asked.
        steps: environment steps taken.
        distance: from start to goal, by the world's `distance`.
        final: from where it ended to the goal.
        danger: steps in a dangerous zone.
        predictions: one-step predictions of the world model (of the oracle: simulated steps) that were asked for.
        error: what the world raised; such an episode has failed.
        at_goal: whether it began where it was to go, so that there was nothing to do: neither success nor failure.
        p50, p99: seconds that it took to find an action, for all episodes side by side, over the episode's steps.
    """

    number: int
    success: bool
    steps: int
    distance: float
    final: float
    danger: int = 0
    predictions: int = 0
    error: str = ""
    at_goal: bool = False
    p50: float = field(default=0.0, compare=False)
    p99: float = field(default=0.0, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "EpisodeOutcome":
        """The inverse of `to_dict`; in older files an episode that began at its goal counts as a success."""
        at_goal = data.get("at_goal", data["success"] and data["steps"] == 0)
        changed: dict[str, Any] = {**data, "success": data["success"] and not at_goal, "at_goal": at_goal}
        return cls(**changed)


class Player(Protocol):
    """Acts in n worlds.

    Attributes:
        sees: whether it needs frames.
        predictions: asked of a model so far, for each problem that still runs.
    """

    @property
    def sees(self) -> bool: ...
    @property
    def predictions(self) -> int: ...
    def begin(self, problems: Problems) -> None:
        """New episodes."""
        ...

    def act(self, state: State, frames: NDArray[np.uint8] | None, active: NDArray) -> NDArray:
        """Actions `[n, A]` (`[n]` integers where discrete); those of rows that are not `active` are ignored.

        Args:
            state: the truth, for those who may know it.
            frames: `[n, C, H, W]`.
            active: `[n]` bool.
        """
        ...


@dataclass(frozen=True, eq=False)
class Arrived:
    """Some worlds one step later."""

    state: State
    frames: NDArray[np.uint8] | None
    solved: NDArray
    danger: NDArray


class Underway:
    """Episodes; whose episode is over keeps the state in which it ended."""

    def __init__(self, player: Player, given: Problems, rng: Generator) -> None:
        self.player, self.given, self.rng = player, given, rng
        self.state, n = given.start, len(given)
        self.kept = given.world.solved(given.start, given.goal).astype(np.int64)
        self.success = self.kept >= given.steps_at_goal
        self.active = ~self.success
        self.steps, self.danger, self.predictions = (np.zeros(n, np.int64) for _ in range(3))
        self.errors = [""] * n
        self.seconds: list[float] = []
        self.frames = given.world.render(given.start) if player.sees else None
        player.begin(given)

    def step(self) -> None:
        before, began = self.player.predictions, time.perf_counter()
        actions = np.asarray(self.player.act(self.state, self.frames, self.active.copy()))
        self.seconds.append(time.perf_counter() - began)
        rows = np.flatnonzero(self.active)
        self.predictions[rows] += self.player.predictions - before
        self.steps[rows] += 1
        self.go_on(rows, actions)

    def go_on(self, rows: NDArray, actions: NDArray) -> None:
        """The worlds `rows` take `actions` `[n, A]`; one that raises has failed."""
        try:
            self.take_in(rows, self._arrive(rows, actions[rows]))
        except Exception:  # whatever it is; by themselves, the others go on
            for row in rows:
                try:
                    self.take_in(row[None], self._arrive(row[None], actions[row[None]]))
                except Exception as error:
                    self.errors[row], self.active[row] = f"{type(error).__name__}: {error}", False

    def outcomes(self) -> list[EpisodeOutcome]:
        world, given = self.given.world, self.given
        before, after = world.distance(given.start, given.goal), world.distance(self.state, given.goal)
        found = []
        for i, number in enumerate(given.numbers):
            taken = self.seconds[: self.steps[i]] or [0.0]
            p50, p99 = np.percentile(taken, [50, 99]).tolist()
            counts = [int(values[i]) for values in (self.steps, self.danger, self.predictions)]
            done, error = bool(self.success[i]) and not self.errors[i], self.errors[i]
            at_goal = done and counts[0] == 0
            ends = float(before[i]), float(after[i])
            found.append(
                EpisodeOutcome(
                    number, done and not at_goal, counts[0], *ends, *counts[1:], error, at_goal, p50, p99
                )
            )
        return found

    def _arrive(self, rows: NDArray, actions: NDArray) -> Arrived:
        world = self.given.world
        state = world.step(self.state.take(rows), actions, self.rng)
        frames = world.render(state) if self.player.sees else None
        return Arrived(state, frames, world.solved(state, self.given.goal.take(rows)), world.danger(state))

    def take_in(self, rows: NDArray, arrival: Arrived) -> None:
        """These worlds have arrived."""
        self.state = self.state.put(rows, arrival.state)
        if self.frames is not None and arrival.frames is not None:
            self.frames[rows] = arrival.frames
        self.danger[rows] += arrival.danger
        self.kept[rows] = np.where(arrival.solved, self.kept[rows] + 1, 0)
        self.success[rows] = self.kept[rows] >= self.given.steps_at_goal
        self.active[rows] = ~self.success[rows]

"""Policies that act while data are collected: at random, wandering, or with a purpose.

A policy is called with the worlds' states (it may look at the truth) and a generator, and gives one action for each.
What it remembers of an episode (a heading, a goal) it draws when it first meets the worlds of that episode: those
whose `factors` are not the very object of the call before, as after every `World.reset`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from openjepa.errors import UserError
from openjepa.worlds.base import World
from openjepa.worlds.planar import Planar
from openjepa.worlds.state import State


class BehaviourPolicy(ABC):
    """The base of every policy.

    Args:
        difficulty: of the goals that it seeks, where it seeks any; by the world's names.
    """

    def __init__(self, world: World, difficulty: Mapping[str, Any] | None = None) -> None:
        self.world, self.difficulty = world, dict(difficulty or {})
        self._factors: object = None

    def __call__(self, state: State, rng: Generator) -> NDArray:
        """`[n, A]` float32 actions, or `[n]` integers where they are discrete."""
        if state.factors is not self._factors:
            self._factors = state.factors
            self.begin(state, rng)
        return self.act(state, rng)

    def begin(self, state: State, rng: Generator) -> None:  # noqa: B027 (not every policy remembers)
        """New episodes in all worlds."""

    @abstractmethod
    def act(self, state: State, rng: Generator) -> NDArray:
        """The actions that `__call__` gives, once episodes have begun."""


class Random(BehaviourPolicy):
    """Uniform over all actions, independent of everything."""

    def act(self, state: State, rng: Generator) -> NDArray:
        space = self.world.actions
        if isinstance(space, int):
            return rng.integers(space, size=len(state))
        return space.clip(space.low + rng.random((len(state), space.size)) * (space.high - space.low))


class RandomWalk(BehaviourPolicy):
    """A walk whose heading drifts and whose step length is drawn anew each time.

    EB-JEPA's data (`dot_dataset.py` with `data_config.yaml`), as shares of the largest action: lengths from a truncated
    normal, 1 +- 0.4 in 0.2..1.8 of 2.45 units; the heading changes by a von Mises draw of concentration 5. There, 35 %
    of walks are laid through the door; here, a share of them first go to a goal by the world's protocol (in Two
    Rooms: in the other room), with the same noise about the right heading, and wander from then on. An action of
    more than two numbers has a heading for every two; a single number is the heading's cosine.

    Args:
        goal_legs: share of episodes that first go to a goal, 0..1.
        concentration: of the heading's change; the greater, the straighter.
    """

    mean, spread, least, most = (share / 2.45 for share in (1.0, 0.4, 0.2, 1.8))

    def __init__(
        self,
        world: World,
        goal_legs: float = 0.35,
        concentration: float = 5.0,
        difficulty: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(world, difficulty)
        if not 0 <= goal_legs <= 1:
            raise UserError(f"RandomWalk: goal_legs is a share in 0..1, not {goal_legs}")
        self.goal_legs, self.concentration = goal_legs, concentration

    def begin(self, state: State, rng: Generator) -> None:
        space, n = self.world.actions, len(state)
        pairs = 1 if isinstance(space, int) else (space.size + 1) // 2
        self.heading = rng.uniform(-np.pi, np.pi, (n, pairs))
        if self.goal_legs:
            self.on_goal_leg = rng.random(n) < self.goal_legs
            self.goal = self.world.goal(state, rng, **self.difficulty)

    def act(self, state: State, rng: Generator) -> NDArray:
        if self.goal_legs:
            self._follow_goals(state)
        self.heading += rng.vonmises(0, self.concentration, self.heading.shape)
        return self._actions(rng)

    def _follow_goals(self, state: State) -> None:
        self.on_goal_leg &= ~self.world.solved(state, self.goal)
        there = np.flatnonzero(self.on_goal_leg)
        if len(there):
            right = self.world.expert(state.take(there), self.goal.take(there))
            self.heading[there] = _headings(right, self.world.actions)

    def _actions(self, rng: Generator) -> NDArray:
        space, n = self.world.actions, len(self.heading)
        if isinstance(space, int):
            return np.round(self.heading[:, 0] / (2 * np.pi) * space).astype(np.int64) % space
        length = self.lengths(n, rng)
        ways = np.stack([np.cos(self.heading), np.sin(self.heading)], -1).reshape(n, -1)[:, : space.size]
        middle, half = (space.high + space.low) / 2, (space.high - space.low) / 2
        return space.clip(middle + length[:, None] * ways * half)

    def lengths(self, n: int, rng: Generator) -> NDArray:
        """Lengths of the next steps, `[n]`, as shares of the largest action."""
        length = rng.normal(self.mean, self.spread, n)
        while (bad := (length < self.least) | (length > self.most)).any():
            length[bad] = rng.normal(self.mean, self.spread, bad.sum())
        return length


class LegWalk(RandomWalk):
    """A walk in legs, each at another speed up to the largest action: straight on, or to a goal.

    The published walk turns within a few steps, takes at most 0.73 of the largest and seldom passes a door. A planner
    is free to go straight through one at full speed: a model that has learned from this walk has seen it.

    Args:
        goal_legs: share of legs that go to a goal.
    """

    leg: ClassVar[int] = 30
    """Mean steps of a leg, unless its goal is reached before."""

    def __init__(
        self,
        world: World,
        goal_legs: float = 0.6,
        concentration: float = 20.0,
        difficulty: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(world, goal_legs, concentration, difficulty)

    def begin(self, state: State, rng: Generator) -> None:
        super().begin(state, rng)
        self.speed = self._speeds(len(state), rng)

    def act(self, state: State, rng: Generator) -> NDArray:
        ends = rng.random(len(state)) < self._end_probability(state)
        if self.goal_legs:
            ends |= self.on_goal_leg & self.world.solved(state, self.goal)
        new = np.flatnonzero(ends)
        if len(new):
            self._turn(state, new, rng)
        return super().act(state, rng)

    def lengths(self, n: int, rng: Generator) -> NDArray:
        return self.speed * rng.uniform(0.8, 1.2, n)

    def _end_probability(self, state: State) -> NDArray:
        """The probability that each leg ends now, whether or not it goes to a goal."""
        return np.full(len(state), 1 / self.leg)

    def _turn(self, state: State, new: NDArray, rng: Generator) -> None:
        """New legs in the worlds `new`."""
        self.speed[new] = self._speeds(len(new), rng)
        self.heading[new] = rng.uniform(-np.pi, np.pi, self.heading[new].shape)
        if self.goal_legs:
            self.on_goal_leg[new] = rng.random(len(new)) < self.goal_legs
            self.goal = self.goal.put(new, self.world.goal(state.take(new), rng, **self.difficulty))

    def _speeds(self, n: int, rng: Generator) -> NDArray:
        return rng.uniform(0, np.sqrt(2), n)  # a box's corner is that far from its middle


class WallSeekingWalk(LegWalk):
    """A leg walk that runs into walls: some goal legs go straight at the goal, whatever is between; they soon give up.

    In Two Rooms the wall between the rooms stops it more often than a leg walk, and it does not push there for long.

    Args:
        goal_legs: share of legs that go to a goal.
        blind: share of goal legs that go straight at the goal; in worlds that are no plane, none do.
    """

    patience: ClassVar[int] = 3
    """Mean steps of going on where nothing moves."""
    still: ClassVar[float] = 0.01
    """Movement in a step below which nothing moves, units."""

    def __init__(
        self,
        world: World,
        goal_legs: float = 0.7,
        concentration: float = 20.0,
        difficulty: Mapping[str, Any] | None = None,
        blind: float = 0.5,
    ) -> None:
        super().__init__(world, goal_legs, concentration, difficulty)
        if not 0 <= blind <= 1:
            raise UserError(f"WallSeekingWalk: blind is a share in 0..1, not {blind}")
        self.blind = blind

    def begin(self, state: State, rng: Generator) -> None:
        super().begin(state, rng)
        self.direct = rng.random(len(state)) < self.blind
        self.before = np.full_like(state.values, np.nan)

    def _end_probability(self, state: State) -> NDArray:
        stuck = np.abs(state.values - self.before).max(1) < self.still
        self.before = state.values.copy()
        return np.where(stuck, 1 / self.patience, super()._end_probability(state))

    def _turn(self, state: State, new: NDArray, rng: Generator) -> None:
        super()._turn(state, new, rng)
        self.direct[new] = rng.random(len(new)) < self.blind

    def _follow_goals(self, state: State) -> None:
        super()._follow_goals(state)
        there = np.flatnonzero(self.on_goal_leg & self.direct)
        if len(there) and isinstance(self.world, Planar):
            straight = self.world.towards(state.take(there), self.goal.values[there, :2])
            self.heading[there] = _headings(straight, self.world.actions)


class Scripted(BehaviourPolicy):
    """The world's expert with noise: it goes to goals by the world's protocol, one after the other; half shun danger.

    Args:
        noise: standard deviation of what is added, as a share of the largest action; of discrete actions, the share
            that is random.
    """

    def __init__(self, world: World, noise: float = 0.2, difficulty: Mapping[str, Any] | None = None) -> None:
        super().__init__(world, difficulty)
        if noise < 0:
            raise UserError(f"Scripted: noise is at least 0, not {noise}")
        self.noise = noise

    def begin(self, state: State, rng: Generator) -> None:
        self.goal = self.world.goal(state, rng, **self.difficulty)
        self.cautious = rng.random(len(state)) < 0.5

    def act(self, state: State, rng: Generator) -> NDArray:
        there = np.flatnonzero(self.world.solved(state, self.goal))
        if len(there):
            self.goal = self.goal.put(there, self.world.goal(state.take(there), rng, **self.difficulty))
        right, space = self.world.expert(state, self.goal, self.cautious), self.world.actions
        if isinstance(space, int):
            return np.where(rng.random(len(state)) < self.noise, rng.integers(space, size=len(state)), right)
        half = (space.high - space.low) / 2
        return space.clip(right + self.noise * half * rng.standard_normal(right.shape))


class PerturbedExpert(Scripted):
    """The scripted policy with perturbations: at times it takes the largest steps in a direction drawn at random,
    whatever stands there.

    A world model that has seen the ways alone plans through the walls beside them.

    Args:
        perturbations: the probability that one begins at each step, 0..1.
    """

    length: ClassVar[int] = 5
    """Mean steps of a perturbation."""

    def __init__(
        self,
        world: World,
        noise: float = 0.2,
        difficulty: Mapping[str, Any] | None = None,
        perturbations: float = 0.2,
    ) -> None:
        super().__init__(world, noise, difficulty)
        if not 0 <= perturbations <= 1:
            raise UserError(f"PerturbedExpert: perturbations is a probability, not {perturbations}")
        self.perturbations = perturbations

    def begin(self, state: State, rng: Generator) -> None:
        super().begin(state, rng)
        self.perturbed = np.zeros(len(state), bool)
        self.way = super().act(state, rng)

    def act(self, state: State, rng: Generator) -> NDArray:
        right, n = super().act(state, rng), len(state)
        self.perturbed &= rng.random(n) >= 1 / self.length
        new = np.flatnonzero(~self.perturbed & (rng.random(n) < self.perturbations))
        self.perturbed[new] = True
        self.way[new] = self._ways(len(new), rng)
        right[self.perturbed] = self.way[self.perturbed]
        return right

    def _ways(self, n: int, rng: Generator) -> NDArray:
        space = self.world.actions
        if isinstance(space, int):
            return rng.integers(space, size=n)
        drawn = rng.standard_normal((n, space.size))
        drawn /= np.abs(drawn).max(1, keepdims=True)
        return space.clip((space.high + space.low) / 2 + drawn * (space.high - space.low) / 2)


def _headings(actions: NDArray, space: object) -> NDArray:
    """The directions of actions, `[n, pairs]`."""
    if isinstance(space, int):
        return 2 * np.pi * actions[:, None] / space
    paired = np.pad(actions, ((0, 0), (0, actions.shape[1] % 2))).reshape(len(actions), -1, 2)
    return np.arctan2(paired[..., 1], paired[..., 0])

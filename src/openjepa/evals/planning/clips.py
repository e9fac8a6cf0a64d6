"""Clips of what can be and of what cannot: teleports, and passing through walls."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from openjepa.errors import UserError
from openjepa.worlds import RandomWalk, State, World
from openjepa.worlds.geometry import inside
from openjepa.worlds.planar import Planar

Violation = Literal["teleport", "wall"]

PLACES = 4
"""Drawn for a teleport, of which the farthest is taken."""
ROUNDS = 100
"""Attempts to draw ways that meet a wall and ways that do not."""


@dataclass(frozen=True, eq=False)
class DrawnClips:
    """Windows with known answers.

    Attributes:
        frames: uint8 `[N, T, C, H, W]`, a model step apart.
        actions: float32 `[N, T-1, block * A]`, what was ordered between them; discrete actions are one-hot.
        state: float32 `[N, T, P]`, the world's physical variables.
        possible: `[N]` bool.
    """

    frames: Tensor
    actions: Tensor
    state: Tensor
    possible: NDArray


def make_clips(
    world: World, violation: Violation, count: int, steps: int, block: int, rng: Generator
) -> DrawnClips:
    """`count` impossible clips and possible ones with the same starts and orders.

    `teleport`: a random walk, and the same with a jump to another place in the middle of a model step, after which the
    walk's actions go on from there.
    `wall`: straight ahead where a wall is in the way. The possible twin stops at it (or slides along it); besides there
    are `count` straight ways that are free, so that moving is not in itself a sign of what cannot be.

    Args:
        steps: of the model, at least 2.
        block: environment steps in each.

    Raises:
        UserError: a world without walls, or in which no way through one was found; fewer than 2 steps.
    """
    if steps < 2 or count < 2:
        raise UserError(f"clips={count}, steps={steps}: at least 2 of each are needed")
    make = _teleports if violation == "teleport" else _walls
    ways, actions, possible = make(world, count, steps * block, block, rng)
    seen = ways[::block]
    frames, states = (np.stack([look(state) for state in seen], 1) for look in (world.render, world.observe))
    orders = np.eye(world.actions, dtype=np.float32)[actions] if isinstance(world.actions, int) else actions
    orders = np.ascontiguousarray(orders, np.float32).reshape(len(orders), steps, -1)
    return DrawnClips(*map(torch.from_numpy, (frames, orders, states)), possible)


Ways = tuple[list[State], NDArray, NDArray]
"""States after each of K environment steps, the first included; actions `[N, K, ...]`; which ways are possible."""


def _teleports(world: World, count: int, length: int, block: int, rng: Generator) -> Ways:
    start, policy = world.reset(count, rng), RandomWalk(world)
    now, ghost, when = start, start, _moments(count, length, block, rng)
    real, odd, actions = [start], [start], []
    for t in range(length):
        actions.append(policy(now, rng))
        now, ghost = world.step(now, actions[-1], rng), world.step(ghost, actions[-1], rng)
        jumps = np.flatnonzero(when == t)
        if len(jumps):
            ghost = ghost.put(jumps, _elsewhere(world, ghost.take(jumps), rng))
        real.append(now)
        odd.append(ghost)
    both = [State.concatenate(pair) for pair in zip(real, odd, strict=True)]
    taken = np.stack(actions, 1)
    return both, np.concatenate([taken, taken]), _first(count, count)


def _moments(count: int, length: int, block: int, rng: Generator) -> NDArray:
    """Environment steps at which to jump, never in the first model step."""
    return rng.integers(1, length // block, count) * block + block // 2


def _elsewhere(world: World, state: State, rng: Generator) -> State:
    """A place that the same world begins an episode in, far from here."""
    places = [State(world.start(state.factors, len(state), rng), state.factors) for _ in range(PLACES)]
    away = np.stack([world.distance(state, place) for place in places])
    rows = np.arange(len(state))
    values = np.stack([place.values for place in places])[away.argmax(0), rows]
    return State(values, state.factors)


def _walls(world: World, count: int, length: int, block: int, rng: Generator) -> Ways:
    if not isinstance(world, Planar):
        raise UserError(f"{world.name} has no walls to pass through: leave 'wall' out of the violations")
    blocked: list[tuple[State, NDArray]] = []
    free: list[tuple[State, NDArray]] = []
    for _ in range(ROUNDS):
        start, actions = world.reset(4 * count, rng), _straight(world, 4 * count, length, rng)
        end = start.values[:, :2] + length * world.displacement(actions)
        clear = np.all((end > 0) & (end < world.arena), 1) & ~inside(end, world.barriers(start.factors))
        stopped = (
            np.linalg.norm(_walk(world, start, actions, length, rng)[-1].values[:, :2] - end, axis=1) > 1
        )
        for found, rows in ((blocked, clear & stopped), (free, clear & ~stopped)):
            found.append((start.take(rows), actions[rows]))
        if min(_total(blocked), _total(free)) >= count:
            break
    else:
        raise UserError(
            f"{world.name}: no ways of {length} steps through a wall were found; change the clips' steps"
        )
    (there, push), (open_, go) = (_cut(found, count) for found in (blocked, free))
    step = world.displacement(push)
    through = [State(_moved(there.values, k * step), there.factors) for k in range(length + 1)]
    parts = _walk(world, there, push, length, rng), _walk(world, open_, go, length, rng), through
    ways = [State.concatenate(states) for states in zip(*parts, strict=True)]
    actions = np.repeat(np.concatenate([push, go, push])[:, None], length, 1)
    return ways, actions, _first(2 * count, count)


def _straight(world: Planar, count: int, length: int, rng: Generator) -> NDArray:
    """An action for each way, which crosses up to 0.4 of the arena."""
    if isinstance(world.actions, int):
        return rng.integers(world.actions, size=count)
    speed = min(world.stride, 0.4 * world.arena / length) * rng.uniform(0.6, 1, count)
    angle = rng.uniform(-np.pi, np.pi, count)
    return (speed[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)).astype(np.float32)


def _walk(world: World, state: State, actions: NDArray, length: int, rng: Generator) -> list[State]:
    states = [state]
    for _ in range(length):
        states.append(world.step(states[-1], actions, rng))
    return states


def _moved(values: NDArray, by: NDArray) -> NDArray:
    moved = values.copy()
    moved[:, :2] += by
    return moved


def _total(found: list[tuple[State, NDArray]]) -> int:
    return sum(len(actions) for _, actions in found)


def _cut(found: list[tuple[State, NDArray]], count: int) -> tuple[State, NDArray]:
    states, actions = State.concatenate([s for s, _ in found]), np.concatenate([a for _, a in found])
    return states.take(slice(count)), actions[:count]


def _first(possible: int, impossible: int) -> NDArray:
    return np.arange(possible + impossible) < possible

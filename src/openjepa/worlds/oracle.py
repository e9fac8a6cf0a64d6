"""Players that know the truth: a controller that knows the state, and plans' cost in the true simulator."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from openjepa.errors import UserError
from openjepa.worlds.base import World
from openjepa.worlds.state import State


@dataclass(frozen=True)
class Oracle:
    """The world's own expert: the shortest path, or energy and a linear regulator.

    Args:
        cautious: shun danger where there is a way that does.
    """

    world: World
    cautious: bool = False

    def __call__(self, state: State, goal: State) -> NDArray:
        """Actions for n worlds."""
        return self.world.expert(state, goal, self.cautious)


@dataclass(frozen=True, eq=False)
class SimulatedOutcome:
    """The outcome of n episodes.

    Attributes:
        success: `[n]` bool, whether the goal was reached within the world's `max_steps`.
        steps: `[n]`, steps to the goal; `max_steps` where it was not reached.
        danger: `[n]` bool, whether a dangerous zone was entered on the way.
    """

    success: NDArray
    steps: NDArray
    danger: NDArray


def attempt(oracle: Oracle, state: State, goal: State, rng: Generator) -> SimulatedOutcome:
    """Let an oracle act from given starts to given goals; an episode ends at its goal."""
    world, n = oracle.world, len(state)
    success, danger, steps = world.solved(state, goal), world.danger(state), np.zeros(n, np.int64)
    for _ in range(world.max_steps):
        if success.all():
            break
        state = world.step(state, oracle(state, goal), rng)
        steps[~success] += 1
        danger |= world.danger(state) & ~success
        success |= world.solved(state, goal)
    return SimulatedOutcome(success, steps, danger)


class Simulated:
    """The cost of action sequences in the true simulator: a planner's objective that knows everything.

    The cost is the sum of `distance` to the goal after every environment step, plus `danger` times the steps in danger.

    Args:
        world: the simulator; its actions are continuous.
        state: B worlds.
        goal: their goals.
        seed: of what the world leaves to chance; the same draws for every call, so that plans compare.
        danger: cost of a step in danger, in units of `distance`.
    """

    def __init__(self, world: World, state: State, goal: State, seed: int = 0, danger: float = 0.0) -> None:
        if isinstance(world.actions, int):
            raise UserError(
                f"{world.name}: Simulated costs continuous actions, and this world's are discrete"
            )
        self.size = world.actions.size
        self.world, self.state, self.goal, self.seed, self.danger = world, state, goal, seed, danger

    def __call__(self, actions: Any) -> Any:
        """`[B, S, H, block * A]`, an array or a CPU tensor, to `[B, S]` of the same kind."""
        plans = np.asarray(actions)
        problems, samples = plans.shape[:2]
        plans = plans.reshape(problems * samples, -1, self.size)
        rng, world = np.random.default_rng(self.seed), self.world
        state, goal = self.state.repeat(samples), self.goal.repeat(samples)
        cost = np.zeros(len(state))
        for t in range(plans.shape[1]):
            state = world.step(state, plans[:, t], rng)
            cost += world.distance(state, goal) + self.danger * world.danger(state)
        cost = cost.reshape(problems, samples).astype(np.float32)
        return cost if isinstance(actions, np.ndarray) else actions.new_tensor(cost)

"""Players that are evaluated: plans with a world model, and beside them chance, imitation and the truth."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from openjepa.agent import Agent, Policy, Task
from openjepa.agent.actor import Mode2, space_of
from openjepa.agent.hierarchy import Hierarchy
from openjepa.agent.perception import Perception
from openjepa.agent.planners import PlannerChoice, as_space, streams
from openjepa.agent.protocols import WorldModel
from openjepa.evals.planning.counted import Counted
from openjepa.evals.planning.guides import guide
from openjepa.evals.planning.play import Problems
from openjepa.evals.planning.protocol import PlanningProtocol
from openjepa.worlds import Box, Oracle, Random, State, World
from openjepa.worlds.oracle import Simulated

RANDOM = 3
"""Stream of random numbers of the random policy."""

PolicyOf = Callable[[World], Callable[[State, Generator], NDArray]]
"""A policy of `openjepa.worlds`, for a world."""


class Planned:
    """The agent with a world model, a planner and costs as a protocol has them.

    Args:
        task: what to do, and in which mode; `None`: reach the goal by planning, at the protocol's cost.
        modules: of the agent, e.g. `critic`, `danger`, `policy`.

    Raises:
        UserError: a planner for the other kind of actions, a task for which a module is missing.

    Warns:
        UserWarning: a horizon beyond what the model was trained for.
    """

    sees = True

    def __init__(
        self, model: WorldModel, protocol: PlanningProtocol, task: Task | None = None, **modules: Any
    ) -> None:
        self._model, cost, higher = Counted(model), protocol.cost, []
        self._guide = None
        if protocol.level == 2:
            lower = Mode2(self._model, protocol.planner, batch=protocol.candidates)
            self._guide = guide(
                protocol.higher, model, protocol.planner.horizon, cost.distance, protocol.candidates
            )
            higher = [Hierarchy(lower, self._guide)]
        self.agent = Agent(
            self._model,
            protocol.planner,
            Task(
                {"goal": cost.goal, "effort": cost.effort, "prediction_error": cost.prediction_error},
                level=protocol.level,
            )
            if task is None
            else task,
            seed=protocol.seed,
            distance=cost.distance,
            reduce=cost.reduce,
            prediction_error_width=cost.prediction_error_width,
            batch=protocol.candidates,
            higher=higher,
            **modules,
        )

    @property
    def predictions(self) -> int:
        return self._model.predictions + (0 if self._guide is None else self._guide.predictions)

    def begin(self, problems: Problems) -> None:
        self._problems = problems
        self.agent.memory.clear()
        if self._guide is not None:
            self._guide.begin(problems)
        self.agent.begin(len(problems), problems.world.render(problems.goal), problems.numbers)

    def act(self, state: State, frames: NDArray[np.uint8] | None, active: NDArray) -> NDArray:
        if self._guide is not None:
            self._guide.see(state, np.flatnonzero(active))
        return self.agent.step(frames, active.tolist(), self._problems.known(state, self._model))


class Cloned:
    """A policy on a world model's states (see `cloning.clone`): a block of actions at a time, no look-ahead."""

    sees = True
    predictions = 0

    def __init__(self, model: WorldModel, policy: Policy) -> None:
        self._model, self._policy, self._space = model, policy, space_of(model)
        self._perception = Perception(model)

    def begin(self, problems: Problems) -> None:
        self._problems = problems
        self._perception.reset()
        self._goal = self._perception.look(torch.from_numpy(problems.world.render(problems.goal)))
        self._rows = torch.arange(len(problems))
        self._queue: list[NDArray] = []

    def act(self, state: State, frames: NDArray[np.uint8] | None, active: NDArray) -> NDArray:
        if not self._queue:
            assert frames is not None
            known = self._problems.known(state, self._model)
            self._perception.observe(torch.from_numpy(frames.copy()), known=known)
            states, _ = self._perception.state(self._rows)
            block = self._space.unfold(self._policy.act(states[:, -1], self._goal)[:, None])
            self._queue = list(block.cpu().numpy().swapaxes(0, 1))
        return self._queue.pop(0)


class Still:
    """Does nothing: zeros, or what the bounds allow nearest to them. What it achieves, the world does by itself."""

    sees = False
    predictions = 0

    def begin(self, problems: Problems) -> None:
        self._space = problems.world.actions

    def act(self, state: State, frames: NDArray[np.uint8] | None, active: NDArray) -> NDArray:
        assert isinstance(self._space, Box)
        return self._space.clip(np.zeros((len(state), self._space.size)))


class Chance:
    """Random actions: uniform, or those of another policy."""

    sees = False
    predictions = 0

    def __init__(self, seed: int, policy: PolicyOf = Random) -> None:
        self._seed, self._made = seed, policy

    def begin(self, problems: Problems) -> None:
        self._policy = self._made(problems.world)
        self._rng = np.random.default_rng([self._seed, RANDOM, problems.numbers[0]])

    def act(self, state: State, frames: NDArray[np.uint8] | None, active: NDArray) -> NDArray:
        return self._policy(state, self._rng)


class Expert:
    """The world's own controller, which knows state and layout; `cautious`: it shuns danger."""

    sees = False
    predictions = 0

    def __init__(self, cautious: bool = False) -> None:
        self._cautious = cautious

    def begin(self, problems: Problems) -> None:
        self._oracle, self._goal = Oracle(problems.world, self._cautious), problems.goal

    def act(self, state: State, frames: NDArray[np.uint8] | None, active: NDArray) -> NDArray:
        return self._oracle(state, self._goal)


class Simulating:
    """A planner whose world model is the world and whose cost is the true distance to the goal."""

    sees = False

    def __init__(self, planner: PlannerChoice, seed: int) -> None:
        self._planner, self._seed, self.predictions = planner, seed, 0

    def begin(self, problems: Problems) -> None:
        self._problems, self._space = problems, as_space(problems.world.actions)
        self._generators = streams(self._seed, problems.numbers)
        self._start: Tensor | None = None
        self._queue: list[NDArray] = []

    def act(self, state: State, frames: NDArray[np.uint8] | None, active: NDArray) -> NDArray:
        if not self._queue:
            self._plan(state, np.flatnonzero(active))
        return self._queue.pop(0)

    def _plan(self, state: State, rows: NDArray) -> None:
        goal, index = self._problems.goal, torch.from_numpy(rows)
        cost = Simulated(self._problems.world, state.take(rows), goal.take(rows), self._seed)

        def counted(actions: Tensor) -> Tensor:
            self.predictions += actions.shape[1] * actions.shape[2]
            return cost(actions)

        start = None if self._start is None else self._start[index]
        generators = [self._generators[row] for row in rows]
        plan = self._planner.plan(counted, self._space, generators, start)
        steps = self._planner.execute
        actions = self._space.neutral.repeat(len(state), steps, 1)
        actions[index] = plan.actions[:, :steps]
        self._queue = list(actions.numpy().swapaxes(0, 1))
        shifted = plan.shifted(steps, self._space)
        if self._start is None:
            self._start = shifted.new_zeros(len(state), *shifted.shape[1:])
        self._start[index] = shifted

"""Guides that set sub-goals in an evaluation: level 2, or the truth."""

from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from openjepa.agent.hierarchy import Above, Aim, SubgoalPlanner
from openjepa.agent.perception import Perception
from openjepa.agent.planners import CEM, Planner
from openjepa.agent.protocols import Situation, WorldModel
from openjepa.config import Config
from openjepa.errors import UserError
from openjepa.evals.planning.counted import Counted
from openjepa.evals.planning.play import Problems
from openjepa.world_models.hierarchy import HierarchicalJEPA
from openjepa.worlds import State, World


class Higher(Config):
    """Settings of sub-goals, where level 2 acts."""

    subgoals: Literal["level2", "oracle"] = "level2"
    """Source of sub-goals: level 2, or `oracle`, the frame that the world's expert would see after a step of level
    2."""
    planner: Planner = CEM(horizon=6, samples=200, iterations=5, elites=20)
    """Planner of macro-actions; level 2 plans whenever level 1 does."""
    near: float = Field(1.0, ge=0)
    """Distance from the goal below which level 1 plans for the goal itself, in lengths of a typical macro-action,
    squared."""
    reach: float = Field(4.0, gt=0)
    """Distance above which a sub-goal is not trusted, in the same unit."""
    typical: float = Field(0.01, ge=0)
    """Cost of an unlikely macro-action, per nat."""
    ahead: int | None = Field(None, ge=1, le=10_000)
    """Environment steps to an oracle's sub-goal; none: those of a step of level 2, or else of a plan."""


class Guided(Protocol):
    """A guide of `agent.hierarchy` for an evaluation's episodes.

    Attributes:
        predictions: asked of level 2 so far, for each problem that still runs.
    """

    @property
    def predictions(self) -> int: ...
    def begin(self, problems: Problems) -> None:
        """New episodes."""
        ...

    def see(self, state: State, rows: NDArray) -> None:
        """Take in the true states of those worlds that still run."""
        ...

    def __call__(self, situation: Situation) -> Aim: ...


def guide(higher: Higher, model: WorldModel, horizon: int, distance: str, batch: int | None) -> Guided:
    """The guide that sets sub-goals for this world model.

    Raises:
        UserError: it has one level and level 2 is asked.
    """
    level = model.level2 if isinstance(model, HierarchicalJEPA) else None
    if higher.subgoals == "oracle":
        return FromTruth(model, higher.ahead or model.block * (horizon if level is None else level.span))
    if level is None:
        raise UserError(
            "this world model has one level: train h-jepa, plan at --level 1, or take --higher.subgoals oracle"
        )
    return FromLevel2(level, higher, distance, batch)


class FromLevel2(SubgoalPlanner):
    """A `SubgoalPlanner` that counts its predictions."""

    def __init__(self, level: Above, higher: Higher, distance: str, batch: int | None) -> None:
        self._counted = CountedLevel(level)
        super().__init__(
            self._counted,
            higher.planner,
            near=higher.near,
            reach=higher.reach,
            typical=higher.typical,
            distance=distance,  # ty: ignore[invalid-argument-type]
            batch=batch,
        )

    @property
    def predictions(self) -> int:
        return self._counted.predictions

    def begin(self, problems: Problems) -> None:
        pass

    def see(self, state: State, rows: NDArray) -> None:
        pass


class FromTruth:
    """Sub-goals on the expert's way, as pictures that level 1 encodes."""

    predictions = 0

    def __init__(self, model: WorldModel, steps: int) -> None:
        self._perception, self._steps = Perception(model), steps

    def begin(self, problems: Problems) -> None:
        """Raises UserError in a world that has no expert."""
        if not isinstance(problems.world, World):
            raise UserError(
                f"{problems.world.name} has no expert to set sub-goals: take --higher.subgoals level2"
            )
        self._world, self._goal = problems.world, problems.goal

    def see(self, state: State, rows: NDArray) -> None:
        self._state, self._rows = state, rows

    def __call__(self, situation: Situation) -> Aim:
        world, state, goal = self._world, self._state.take(self._rows), self._goal.take(self._rows)
        chance = np.random.default_rng(0)
        for _ in range(self._steps):
            state = world.step(state, world.expert(state, goal), chance)
        ahead = self._perception.look(torch.from_numpy(world.render(state)))
        return Aim(ahead, torch.ones(len(ahead), dtype=torch.bool, device=ahead.device))


class CountedLevel(Counted):
    """Level 2 with a count of its predictions."""

    def __init__(self, level: Above) -> None:
        super().__init__(level)
        self.level, self.span, self.macro = level, level.span, level.macro

    @property
    def stride(self) -> Tensor:
        return self.level.stride

    def apart(self, one: Tensor, other: Tensor) -> Tensor:
        """The distance of states, as level 2 measures it."""
        return self.level.apart(one, other)

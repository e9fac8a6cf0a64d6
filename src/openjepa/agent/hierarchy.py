"""The hierarchical actor: level 2 says where to be next, level 1 how to get there.

LeCun 2022, section 4.7: a macro-action is no motor command but a condition on level 1's states. Level 2 plans towards
the goal; the first state that it predicts is level 1's sub-goal, until both plan anew (HWM, arXiv:2604.03208).

Safeguards, for a search finds what a model does not know (a plain hierarchy on LeWM is often worse than none):
macro-actions are planned inside percentiles of those seen in training, and unusual ones cost; of a plan only the first
macro-action counts; a sub-goal farther away than macro-actions lead is not trusted; and neither there nor at the last
stretch, where the goal is closer than a macro-action leads, is level 1 given one: it plans for the goal itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from openjepa.agent.actor import Mode2
from openjepa.agent.cost import Cost, Goal, Reduce, Term
from openjepa.agent.planners import Plan, PlannerChoice
from openjepa.agent.protocols import Situation, WorldModel
from openjepa.errors import UserError


class Above(WorldModel, Protocol):
    """A world model of another's states, one step of which is many of the other's
    (`openjepa.world_models.hierarchy.HigherLevel`)."""

    @property
    def span(self) -> int: ...
    @property
    def stride(self) -> Tensor: ...
    @property
    def macro(self) -> Any: ...
    def apart(self, one: Tensor, other: Tensor) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Aim:
    """Sub-goals.

    Attributes:
        states: `[B, *L2]`.
        trusted: `[B]` bool; where not, level 1 plans for the goal itself.
        lift: level 1's states `[..., *L]` to what the sub-goals are compared with, `[..., *L2]`.
        unit: a typical squared distance between two of them, the mean over their numbers.
    """

    states: Tensor
    trusted: Tensor
    lift: Callable[[Tensor], Tensor] = lambda states: states
    unit: float = 1.0


Guide = Callable[[Situation], Aim]
"""A guide of level 1: the sub-goals for a situation."""


class SubgoalPlanner:
    """A guide that plans with level 2.

    Args:
        level: level 2.
        planner: of macro-actions.
        near: the last stretch begins where the goal is closer than so many typical macro-actions lead, as squares.
        reach: farther than so many of them lead, as squares, a sub-goal is not trusted.
        typical: cost of a macro-action per nat that it is unlikely, in what a typical one leads, as a square.
        distance: of states and goal.
        batch: the most candidates that level 2 is given at a time.

    Raises:
        UserError: a planner for the other kind of macro-actions, or a level 2 that was never trained.

    Warns:
        UserWarning: a horizon beyond what level 2 was trained for.
    """

    def __init__(
        self,
        level: Above,
        planner: PlannerChoice,
        *,
        near: float = 1.0,
        reach: float = 4.0,
        typical: float = 0.01,
        distance: Literal["l2", "l1", "cosine"] = "l2",
        batch: int | None = None,
    ) -> None:
        self.level, self.near, self.reach, self.typical, self.distance = level, near, reach, typical, distance
        self.search = Mode2(level, planner, batch=batch)

    def __call__(self, situation: Situation) -> Aim:
        """Raises UserError when the task has no goal."""
        if situation.goal is None:
            raise UserError("level 2 plans towards a goal, and this task has none: use level 1")
        level, unit = self.level, float(self.level.stride)
        here = level.encode(situation.state[:, -1:])
        goal = level.encode(situation.goal.unsqueeze(1))[:, 0]
        terms: Mapping[str, Term] = {
            "goal": Goal(goal, self.distance, unit=unit),
            "typical": Typical(level.macro.penalty),
        }
        cost = Cost(terms, {}, {"goal": 1.0, "typical": self.typical})
        plan = self.search.act(replace(situation, state=here, past=None, goal=goal, cost=cost, start=None))
        first = level.rollout(here, plan.actions[:, None, :1])[:, 0, 0]
        last, moved = level.apart(here[:, 0], goal) < self.near, level.apart(here[:, 0], first)
        return Aim(first, ~last & (moved <= self.reach), level.encode, unit)


class Hierarchy:
    """Mode 2 of level 1, towards the sub-goals of a guide.

    All that the task's cost holds beside the goal counts for level 1 alone, but not the critic, which is about the
    goal.

    Attributes:
        aim: the last sub-goals.
    """

    def __init__(self, lower: Mode2, guide: Guide) -> None:
        self.lower, self.guide = lower, guide
        self.aim: Aim | None = None

    @property
    def execute(self) -> int:
        """Level 1's steps until both levels plan anew."""
        return self.lower.execute

    def act(self, situation: Situation) -> Plan:
        """Raises UserError when the task has no goal."""
        cost = situation.cost
        if situation.goal is None or not cost.weight("goal") or "goal" not in cost.intrinsic:
            raise UserError("a hierarchy plans towards a goal, and this task weighs none: use level 1")
        aim = self.aim = self.guide(situation)
        terms = {**cost.intrinsic, "goal": Towards(cost.intrinsic["goal"], aim)}
        weights = {name: cost.weight(name) for name in terms}
        return self.lower.act(
            replace(situation, cost=replace(cost, intrinsic=terms, trained={}, weights=weights))
        )


@dataclass(frozen=True, eq=False)
class Towards:
    """Distance to the sub-goal, after every step; where it is not trusted, what `goal` costs."""

    goal: Term
    aim: Aim

    @property
    def reduce(self) -> Reduce:
        return self.goal.reduce

    def __call__(self, states: Tensor, actions: Tensor | None = None) -> Tensor:
        aim = self.aim
        near = Goal(aim.states, unit=aim.unit)(aim.lift(states))
        return torch.where(aim.trusted[:, None, None], near, self.goal(states, actions))

    def take(self, rows: Tensor) -> "Towards":
        aim = replace(self.aim, states=self.aim.states[rows], trusted=self.aim.trusted[rows])
        return Towards(self.goal.take(rows), aim)


@dataclass(frozen=True, eq=False)
class Typical:
    """The price of unlikely macro-actions, in nats up to a constant."""

    penalty: Callable[[Tensor], Tensor]
    reduce: Reduce = "sum"

    def __call__(self, states: Tensor, actions: Tensor | None = None) -> Tensor:
        return states.new_zeros(states.shape[:3]) if actions is None else self.penalty(actions)

    def take(self, rows: Tensor) -> "Typical":
        return self

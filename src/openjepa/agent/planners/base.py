"""The base of every planner: the problem, its price, its answer.

A planner minimises `objective(actions [B, S, H, A']) -> [B, S]` over sequences of H actions, for B problems at once. It
knows nothing of world models. Nothing is ever mixed across problems, and problem b draws from a generator of its own,
so a problem planned alone and in a batch gets the same plan.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from openjepa.agent.planners.problem import Constraint, Objective, Plan, Problem
from openjepa.agent.planners.space import Bounds, Discrete, Space, as_space
from openjepa.config import Choice
from openjepa.errors import UserError


class PlannerChoice(Choice):
    """Base of all planners."""

    discrete: ClassVar[bool] = False
    """Whether it plans discrete actions."""

    horizon: int = Field(5, ge=1, le=10_000)
    """Steps of a plan, in actions of the world model."""
    execute: int = Field(1, ge=1, le=10_000)
    """Steps executed before the next plan (LeWM: all 5; PLDM and V-JEPA 2-AC: 1)."""
    action_repeat: bool = False
    """Whether one environment action is repeated through a step of the plan: fewer numbers to search, for the price of
    plans that turn at a step's end alone. For a world model that takes a block's mean this is so anyway."""
    constraint: Literal["reject", "penalise"] = "reject"
    """`reject`: any candidate that breaks the constraint is worse than any that does not."""
    penalty: float = Field(1.0, ge=0)
    """Cost of one unit of violation; for `penalise`, and for the gradient planner's steps."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.execute > self.horizon:
            raise ValueError(f"execute {self.execute} exceeds the horizon of {self.horizon} steps")
        return self

    def plan(
        self,
        objective: Objective,
        space: Any,
        generators: Sequence[torch.Generator],
        start: Tensor | None = None,
        constraint: Constraint | None = None,
    ) -> Plan:
        """Minimise `objective`.

        Args:
            objective: costs `[B, S]` of actions `[B, S, H, A']`.
            space: a `Space`, bounds with `low` and `high` `[A']`, or a count of discrete actions.
            generators: one for each of the B problems (see `streams`); they advance.
            start: `[B, H, A']`, where the search starts; or `[B, K, H, A']`, the first of which is the start and the
                others candidates. `None`: neutral actions.
            constraint: violations `[B, S]` of actions `[B, S, H, A']`.

        Raises:
            UserError: a space of the other kind, a start or an objective's answer of another shape.
        """
        space = as_space(space)
        self.check(space)
        problem = Problem(self, space, objective, constraint, generators)
        starts = problem.starts(start)
        with torch.no_grad():
            if isinstance(space, Bounds) and (self.action_repeat or space.action_repeat) and space.block > 1:
                plan = self._search(problem.repeated(), space.pooled(starts))
                actions, elites = space.repeated(plan.actions), space.repeated(plan.elites)
                return replace(plan, actions=actions, elites=elites)
            return self._search(problem, starts)

    def check(self, space: Space) -> None:
        """Raises UserError when this planner cannot plan in `space`."""
        if isinstance(space, Discrete) and not self.discrete:
            raise UserError(
                f"planner {self.kind!r} searches continuous actions and this space has {space.count} discrete ones: "
                f"use --planner categorical-cem"
            )
        if isinstance(space, Discrete) and self.action_repeat:
            raise UserError(
                "planner.action_repeat is for continuous actions, these are discrete: leave it out"
            )
        if isinstance(space, Bounds) and self.discrete:
            raise UserError(
                f"planner {self.kind!r} searches discrete actions and this space is a box of {space.width} numbers: "
                f"use cem, icem, mppi or gradient"
            )

    def _search(self, problem: Problem, starts: Tensor) -> Plan:
        raise NotImplementedError

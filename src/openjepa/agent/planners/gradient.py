"""Gradient descent on the actions, through the world model."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from openjepa.agent.planners.base import PlannerChoice
from openjepa.agent.planners.problem import Plan, Problem, Search, top
from openjepa.errors import UserError


class Gradient(PlannerChoice):
    """Descend the objective from several starts at once; the actions are projected on the bounds after every step.

    The first start is the given one (or neutral actions), then come other given ones, then random ones. Steps are
    measured in half ranges of the bounds. The answer is the best sequence that any start has passed. The objective must
    be differentiable; a constraint enters the descent as `penalty * violation`, whatever `constraint` says, and the
    choice among what was passed as it says. (DINO-WM descends from one start, 1000 steps.)
    """

    kind: Literal["gradient"] = "gradient"
    optimiser: Literal["adam", "sgd"] = "adam"
    lr: float = Field(0.1, gt=0)
    iterations: int = Field(50, ge=1, le=100_000)
    restarts: int = Field(8, ge=1, le=100_000)
    """Starts, given ones among them."""
    sigma: float = Field(0.5, ge=0)
    """Standard deviation of random starts around the given one, in half ranges of the bounds."""

    def _search(self, problem: Problem, starts: Tensor) -> Plan:
        space, search = problem.box, Search()
        noise = self.sigma * problem.normal(self.restarts - 1, *starts.shape[2:])
        given = starts[:, : self.restarts]
        others = starts[:, :1] + noise[:, given.shape[1] - 1 :] * space.scale
        centre, scale = space.neutral, space.scale.clamp(min=1e-9)
        steps = (space.clamp(torch.cat([given, others], 1)) - centre) / scale
        first, second = torch.zeros_like(steps), torch.zeros_like(steps)
        for iteration in range(1, self.iterations + 1):
            actions = space.clamp(centre + scale * steps)
            values, slope = _descend(problem, actions)
            self._note(search, actions, values)
            slope = slope * scale
            if self.optimiser == "adam":  # by hand, since importing torch.optim takes seconds
                first, second = torch.lerp(slope, first, 0.9), torch.lerp(slope.square(), second, 0.999)
                slope = first / (1 - 0.9**iteration)
                slope = slope / ((second / (1 - 0.999**iteration)).sqrt() + 1e-8)
            steps = (space.clamp(centre + scale * (steps - self.lr * slope)) - centre) / scale
        actions = space.clamp(centre + scale * steps)
        self._note(search, actions, problem.price(actions))
        return problem.answer(search, None, search.actions[:, None][:, :0])

    def _note(self, search: Search, actions: Tensor, values: Tensor) -> None:
        best, costs = top(actions, values, 1)
        search.note(best[:, 0], costs[:, 0], values.mean(1))


def _descend(problem: Problem, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Prices `[B, S]` and the slope `[B, S, H, A']`, from one pass; slopes that are not finite are 0."""
    with torch.enable_grad():
        actions = actions.detach().requires_grad_()
        costs = problem.measure(problem.objective, actions, "the objective")
        descended, violation = costs, None
        if problem.constraint is not None:
            violation = problem.measure(problem.constraint, actions, "the constraint")
            descended = costs + problem.planner.penalty * violation.relu()
        if not descended.requires_grad:
            raise UserError(
                "planner 'gradient' needs an objective that is differentiable: use cem, icem or mppi"
            )
        (slope,) = torch.autograd.grad(descended.sum(), actions)
    return problem.combine(costs.detach(), violation), slope.nan_to_num(0, 0, 0)

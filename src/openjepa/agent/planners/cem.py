"""The cross-entropy method: sample around a mean, keep the elites, refit, repeat."""

from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from openjepa.agent.planners.base import PlannerChoice
from openjepa.agent.planners.problem import Plan, Problem, Search, top


class Refit(PlannerChoice):
    """The search of CEM and iCEM: a diagonal Gaussian, refitted to the elites of each iteration.

    The first candidate of every iteration is the current mean. Samples are clamped to the bounds.
    """

    samples: int = Field(300, ge=2, le=1_000_000)
    """Candidates of the first iteration, the mean and given candidates among them."""
    iterations: int = Field(10, ge=1, le=100_000)
    elites: int = Field(30, ge=1, le=1_000_000)
    sigma: float = Field(1.0, gt=0)
    """Standard deviation at the start, in half ranges of the bounds (in the actions' unit where there are none)."""
    floor: float = Field(0.0, ge=0)
    """Smallest standard deviation, in the same unit."""
    momentum: float = Field(0.0, ge=0, lt=1)
    """Share of the old mean that a refit keeps (V-JEPA 2-AC's notebook: 0.15)."""
    momentum_std: float | None = Field(None, ge=0, lt=1)
    """The same of the standard deviation (there 0.75); none: as of the mean."""
    answer: Literal["mean", "best"] = "mean"
    """The last mean, or the best candidate of all iterations."""

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if self.elites > self.samples:
            raise ValueError(f"{self.elites} elites cannot be chosen from {self.samples} samples")
        return self

    def _search(self, problem: Problem, starts: Tensor) -> Plan:
        space, search = problem.box, Search()
        mean, kept = starts[:, 0], starts[:, 1:]
        std = (self.sigma * space.scale).expand_as(mean)
        elites = mean[:, None]
        for iteration in range(self.iterations):
            count = self._count(iteration)
            fixed = space.clamp(torch.cat([mean[:, None], kept], 1)[:, :count])
            noise = self._noise(problem, count - fixed.shape[1])
            candidates = torch.cat([fixed, space.clamp(mean[:, None] + std[:, None] * noise)], 1)
            elites, costs = top(candidates, problem.price(candidates), self.elites)
            search.note(elites[:, 0], costs[:, 0], costs.mean(1))
            mean = torch.lerp(elites.mean(1), mean, self.momentum)
            spread = elites.std(1) if self.elites > 1 else torch.zeros_like(mean)
            slow = self.momentum if self.momentum_std is None else self.momentum_std
            std = torch.lerp(spread, std, slow).maximum(self.floor * space.scale)
            kept = self._keep(elites)
        return problem.answer(search, mean if self.answer == "mean" else None, self._keep(elites))

    def _count(self, iteration: int) -> int:
        """Candidates of an iteration."""
        return self.samples

    def _noise(self, problem: Problem, count: int) -> Tensor:
        """Unit variance, `[B, count, H, A']`."""
        return problem.normal(count, self.horizon, problem.space.width)

    def _keep(self, elites: Tensor) -> Tensor:
        """Which elites are candidates again, in the next iteration and in the next plan."""
        return elites[:, :0]


class CEM(Refit):
    """The cross-entropy method as LeWM and stable-worldmodel plan with it.

    300 samples, 30 elites, 10 iterations (30 on PushT), mean and (unbiased) standard deviation refitted without
    momentum, the last mean executed. LeWM (arXiv:2603.19312) counts `sigma` 1 in z-scored actions; here it is in half
    ranges of the bounds.
    """

    kind: Literal["cem"] = "cem"

"""Model predictive path integral control: the mean of all samples, weighted by how cheap they are."""

from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from openjepa.agent.planners.base import PlannerChoice
from openjepa.agent.planners.problem import REJECTED, Plan, Problem, Search, top


class MPPI(PlannerChoice):
    """MPPI (Williams et al., arXiv:1509.01149): weights `softmax(-cost / temperature)`.

    The temperature *divides* the cost, so that a low one is greedy. (EB-JEPA's code multiplies by its 0.005, which
    makes all weights equal: there the mean over the elites alone plans.) With `elites` only the best are weighted and
    with `refit` the standard deviation follows them, as in TD-MPC2 and EB-JEPA; without, this is PLDM's MPPI.
    """

    kind: Literal["mppi"] = "mppi"
    samples: int = Field(512, ge=2, le=1_000_000)
    """Candidates an iteration, the mean and given candidates among them."""
    iterations: int = Field(6, ge=1, le=100_000)
    elites: int | None = Field(64, ge=1, le=1_000_000)
    """Number of the cheapest candidates that are weighted; `none`: all."""
    sigma: float = Field(0.5, gt=0)
    """Standard deviation at the start, in half ranges of the bounds (in the actions' unit where there are none)."""
    floor: float = Field(0.05, ge=0)
    """Smallest standard deviation, in the same unit."""
    refit: bool = True
    """Whether the standard deviation follows the weighted candidates; else it stays `sigma`."""
    temperature: float = Field(1.0, gt=0)
    unit: Literal["spread", "cost"] = "spread"
    """Unit of the temperature: the standard deviation of the weighted candidates' costs, or the cost itself (the
    papers). With `spread` a temperature means the same in any latent space."""

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if self.elites is not None and self.elites > self.samples:
            raise ValueError(f"{self.elites} elites cannot be chosen from {self.samples} samples")
        return self

    def _search(self, problem: Problem, starts: Tensor) -> Plan:
        space, search = problem.box, Search()
        mean, given = starts[:, 0], starts[:, 1:]
        std = (self.sigma * space.scale).expand_as(mean)
        for _ in range(self.iterations):
            fixed = space.clamp(torch.cat([mean[:, None], given], 1)[:, : self.samples])
            noise = problem.normal(self.samples - fixed.shape[1], *mean.shape[1:])
            candidates = torch.cat([fixed, space.clamp(mean[:, None] + std[:, None] * noise)], 1)
            chosen, costs = top(candidates, problem.price(candidates), self.elites or self.samples)
            weights = self.weights(costs)
            search.note(chosen[:, 0], costs[:, 0], (weights * costs).sum(1))
            share = weights.to(chosen)[..., None, None]
            mean = (share * chosen).sum(1)
            if self.refit:
                variance = (share * (chosen - mean[:, None]).square()).sum(1)
                std = variance.sqrt().maximum(self.floor * space.scale)
            given = given[:, :0]
        return problem.answer(search, mean, mean[:, None][:, :0])

    def weights(self, costs: Tensor) -> Tensor:
        """`[B, S]` costs to weights that sum to 1; candidates that break a constraint weigh nothing beside others."""
        temperature = torch.full_like(costs[:, :1], self.temperature)
        if self.unit == "spread":
            fine = costs < REJECTED
            fine = (fine | ~fine.any(1, keepdim=True)).double()
            costs = costs - costs.amin(1, keepdim=True)
            count = fine.sum(1, keepdim=True)
            centred = (costs - (costs * fine).sum(1, keepdim=True) / count) * fine
            spread = (centred.square().sum(1, keepdim=True) / count).sqrt()
            temperature = temperature * spread.clamp(min=1e-12)
        return torch.softmax(-(costs - costs.amin(1, keepdim=True)) / temperature, 1)

"""The cross-entropy method over sequences of discrete actions."""

from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from openjepa.agent.planners.base import PlannerChoice
from openjepa.agent.planners.problem import Plan, Problem, Search, top


class CategoricalCEM(PlannerChoice):
    """CEM with an independent categorical distribution at each environment step, refitted to the elites' frequencies.

    Actions are one-hot. The first candidate of every iteration is the most probable sequence.
    """

    discrete: ClassVar[bool] = True

    kind: Literal["categorical-cem"] = "categorical-cem"
    samples: int = Field(300, ge=2, le=1_000_000)
    """Candidates an iteration, the most probable and given ones among them."""
    iterations: int = Field(10, ge=1, le=100_000)
    elites: int = Field(30, ge=1, le=1_000_000)
    momentum: float = Field(0.1, ge=0, lt=1)
    """Share of the old probabilities that a refit keeps."""
    floor: float = Field(0.01, ge=0, lt=1)
    """Probability spread evenly over all actions, so that none dies out."""
    trust: float = Field(0.5, ge=0, lt=1)
    """Probability of a given start's actions; the rest is spread evenly."""
    answer: Literal["mode", "best"] = "best"
    """The most probable sequence of the last distribution, or the best candidate of all iterations."""

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if self.elites > self.samples:
            raise ValueError(f"{self.elites} elites cannot be chosen from {self.samples} samples")
        return self

    def _search(self, problem: Problem, starts: Tensor) -> Plan:
        space, search = problem.choices, Search()
        given = space.one_hot(starts[:, 1:])
        chances = torch.lerp(space.neutral.expand_as(starts[:, 0]), starts[:, 0], self.trust)
        for _ in range(self.iterations):
            fixed = torch.cat([space.one_hot(chances)[:, None], given], 1)[:, : self.samples]
            draws = problem.uniform(self.samples - fixed.shape[1], self.horizon, space.block)
            candidates = torch.cat([fixed, sample(chances, draws)], 1)
            elites, costs = top(candidates, problem.price(candidates), self.elites)
            search.note(elites[:, 0], costs[:, 0], costs.mean(1))
            chances = torch.lerp(elites.mean(1), chances, self.momentum)
            chances = torch.lerp(chances, space.neutral.expand_as(chances), self.floor)
            given = given[:, :0]
        mode = space.one_hot(chances) if self.answer == "mode" else None
        return problem.answer(search, mode, starts[:, :0])


def sample(chances: Tensor, draws: Tensor) -> Tensor:
    """One-hot sequences `[B, S, H, A']` from probabilities `[B, H, A']` and uniform draws `[B, S, H, block]`."""
    count = chances.shape[-1] // draws.shape[-1]
    edges = chances.unflatten(-1, (-1, count)).cumsum(-1)[:, None, ..., :-1]
    index = (draws[..., None] >= edges).sum(-1)
    return torch.nn.functional.one_hot(index, count).flatten(-2).to(chances.dtype)

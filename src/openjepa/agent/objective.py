"""Imagination: what a planner minimises is the cost of the states that a world model predicts."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from openjepa.agent.protocols import Situation, Uncertain, WorldModel
from openjepa.errors import UserError


@dataclass(frozen=True)
class Risk:
    """The judgement of a plan whose outcome is uncertain: the mean of its costs plus `weight` standard deviations.

    LeCun 2022, section 4.8: the latent variable of the world model is sampled, and the mean, or the mean and the
    variance, of the cost is optimised. An ensemble's members count as samples.

    Attributes:
        weight: 0 is indifferent to risk, positive avoids it, negative seeks it.
        samples: futures imagined for each candidate, the same for all candidates of a problem.
    """

    weight: float = 0.0
    samples: int = 8

    def __call__(self, costs: Tensor) -> Tensor:
        """`[B, S, K]` costs of K futures to `[B, S]`."""
        judged = costs.mean(2)
        return judged + self.weight * costs.std(2, correction=0) if self.weight else judged


class Imagination:
    """`objective(actions [B, S, H, A']) -> [B, S]`.

    The latent state is encoded once a plan, before; here are no images. The futures' `z` are drawn once, so that every
    candidate meets the same ones.

    Args:
        risk: `None` lets the model predict its one future.
        batch: the most candidates, over all problems and futures, that the model is given at a time.

    Raises:
        UserError: risk asked of a world model that has one future only.
    """

    def __init__(
        self,
        model: WorldModel,
        situation: Situation,
        horizon: int,
        risk: Risk | None = None,
        batch: int | None = None,
    ) -> None:
        self.model, self.situation, self.risk, self.batch = model, situation, risk, batch
        self.z: Tensor | None = None
        if risk is not None:
            if not isinstance(model, Uncertain):
                raise UserError(
                    "risk needs a world model with several futures (a latent z, a mixture or an ensemble), "
                    "and this one predicts a single one: train one, or leave risk out"
                )
            uncertain = cast(Uncertain, model)
            self.z = uncertain.draw_z(situation.state, risk.samples, horizon, situation.generators)

    def __call__(self, actions: Tensor) -> Tensor:
        futures = 1 if self.z is None else self.z.shape[1]
        size = actions.shape[1] if self.batch is None else max(1, self.batch // (len(actions) * futures))
        return torch.cat([self._price(part) for part in actions.split(size, 1)], 1)

    def states(self, actions: Tensor) -> Tensor:
        """Imagined states: `[B, S, H, *L]`, or `[B, S * K, H, *L]` with K futures of each candidate in a row."""
        z = None
        if self.z is not None:
            candidates = actions.shape[1]
            z = self.z[:, None].expand(-1, candidates, *self.z.shape[1:]).flatten(1, 2)
            actions = actions.repeat_interleave(self.z.shape[1], 1)
        return self.model.rollout(self.situation.state, actions, z=z, past=self.situation.past)

    def _price(self, actions: Tensor) -> Tensor:
        states, cost = self.states(actions), self.situation.cost
        if self.risk is None or self.z is None:
            return cost(states, actions)
        futures = self.z.shape[1]
        return self.risk(cost(states, actions.repeat_interleave(futures, 1)).unflatten(1, (-1, futures)))

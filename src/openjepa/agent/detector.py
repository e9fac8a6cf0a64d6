"""Danger, learned: which states lie in a dangerous zone."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openjepa.agent.heads import MLPHead, descend, draw
from openjepa.errors import UserError


class Detector(nn.Module):
    """States `[..., *L]` to the probability of danger `[...]`; for `openjepa.agent.cost.Danger`.

    Args:
        shape: `L`, of one state.
    """

    odds: Tensor
    """Logarithm of the odds of danger among the examples."""

    def __init__(self, shape: tuple[int, ...], hidden: int = 256, layers: int = 2) -> None:
        super().__init__()
        self.head = MLPHead(shape, 1, hidden, layers)
        self.register_buffer("odds", torch.zeros(()))

    def forward(self, states: Tensor) -> Tensor:
        return torch.sigmoid(self.head(states)[..., 0] + self.odds)

    def fit(
        self,
        states: Tensor,
        danger: Tensor,
        generator: torch.Generator,
        *,
        updates: int = 2000,
        batch: int = 256,
        lr: float = 3e-3,
    ) -> list[float]:
        """Learn from states `[N, *L]` and whether each was in danger, `[N]` bool; the losses.

        Half of every batch is dangerous, so that rare dangers are learned as well; the probabilities are those of the
        examples' own odds nevertheless. At even odds a plan that is long enough is dangerous wherever it leads.

        Raises:
            UserError: no example of one of the two.
        """
        danger = danger.bool()
        sides = [danger.nonzero()[:, 0], (~danger).nonzero()[:, 0]]
        if not all(len(side) for side in sides):
            raise UserError(
                f"{int(danger.sum())} of {len(danger)} states are dangerous: a detector learns from examples of both"
            )
        self.odds.fill_(math.log(len(sides[0]) / len(sides[1])))
        self.head.standardise(states)
        labels = torch.cat([torch.ones(batch // 2), torch.zeros(batch // 2)]).to(states)

        def loss() -> Tensor:
            drawn = [side[draw(side, batch // 2, generator)] for side in sides]
            return F.binary_cross_entropy_with_logits(self.head(states[torch.cat(drawn)])[..., 0], labels)

        return descend(self, loss, updates=updates, lr=lr)

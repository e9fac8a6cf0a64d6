"""Several predictors side by side."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from openjepa.nets.dynamics.base import Dynamics, Memory


class Branches(Dynamics):
    """K predictors of one kind, followed by weights that sum to 1: the last K numbers of a condition.

    One-hot for a mixture (`openjepa.latents.Mixture`), 1/K each for the mean of an ensemble; `every` gives its spread.

    Args:
        members: predictors for actions of A' numbers, with their heads; this one takes A' + K.
    """

    def __init__(self, members: Sequence[Dynamics]) -> None:
        super().__init__(members[0].shape, members[0].condition_dim + len(members), members[0].history)
        self.members = nn.ModuleList(members)

    def memory(self) -> Memory:
        return Memory([member.memory() for member in self._members])

    def every(self, states: Tensor, actions: Tensor) -> Tensor:
        """Teacher-forced: `[B, T, *L]` and `[B, T, A']`, without weights, give `[B, T, K, *L]`."""
        return torch.stack([member(states, actions) for member in self._members], 2)

    def predict(self, states: Tensor, actions: Tensor, memory: Memory, newest: bool) -> Tensor:
        condition, weights = self._split(actions)
        if (
            self.history == 1 and not weights.requires_grad
        ):  # rows are independent, and weights of 0 need no gradient
            return self._followed(states, condition, weights)
        pairs = zip(self._members, memory.parts, strict=True)
        options = torch.stack([member.extend(states, condition, kept, newest) for member, kept in pairs], 2)
        return _mix(options, weights[:, -options.shape[1] :])

    def _followed(self, states: Tensor, condition: Tensor, weights: Tensor) -> Tensor:
        """`[N, 1, *L]`; each member is asked only about rows where it counts: one-hot weights cost as one member."""
        found = torch.zeros_like(states)
        for k, member in enumerate(self._members):
            rows = weights[:, 0, k].nonzero().squeeze(1)
            if len(rows) or torch.is_grad_enabled():  # a member that no row follows still has gradients: of 0
                share = weights[rows, :, k].view(-1, *[1] * (states.dim() - 1))
                part = share * member(states[rows], condition[rows])
                found = found.index_add(0, rows, part.to(found.dtype))
        return found

    @property
    def _members(self) -> list[Dynamics]:
        return [cast(Dynamics, member) for member in self.members]

    def _split(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        condition, weights = actions.tensor_split([-len(self.members)], -1)
        return condition, weights


def _mix(options: Tensor, weights: Tensor) -> Tensor:
    """`[B, T, K, *L]` and `[B, T, K]` give `[B, T, *L]`."""
    return torch.einsum("btk...,btk->bt...", options, weights)

"""The critic: intrinsic cost to come, learned from memory."""

import copy
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openjepa.agent.cost import Reduce
from openjepa.agent.heads import MLPHead, descend, draw, some
from openjepa.agent.memory import ShortTermMemory, need_goals
from openjepa.errors import UserError


class Critic(nn.Module):
    """`TC(s)`, or `TC(s, goal)`: `[..., *L]` to `[...]`.

    LeCun 2022, section 3.3: minimise `|IC(s_{t+delta}) - TC(s_t)|^2` over pairs from memory (`later`). Or, with
    `discounted`, predict all that comes: `sum_k discount^(k-1) IC(s_{t+k})`, k from 1, of which `steps` are remembered
    and the rest is the critic's own estimate at the last of them (n-step temporal differences, against a copy that
    follows slowly).

    Args:
        shape: `L`, of one state.
        goal: whether the cost depends on a goal that changes between episodes; the critic then sees it.
        target: `discounted` or `later`.
        steps: n, or delta.
        discount: of the cost one step later.
    """

    scale: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        goal: bool = False,
        target: Literal["discounted", "later"] = "discounted",
        steps: int = 5,
        discount: float = 0.97,
        hidden: int = 256,
        layers: int = 2,
    ) -> None:
        super().__init__()
        self.goal, self.target, self.steps, self.discount = goal, target, steps, discount
        self.head = MLPHead(shape, 1, hidden, layers, beside=2 if goal else 1)
        self.register_buffer("scale", torch.ones(()))

    def forward(self, states: Tensor, goals: Tensor | None = None) -> Tensor:
        """Raises UserError when a goal is missing."""
        if self.goal and goals is None:
            raise UserError(
                "this critic sees the goal (goal=True), and the task has none: give one, or train without"
            )
        seen = (states, goals) if self.goal and goals is not None else (states,)
        return self.scale * self.head(*seen)[..., 0]

    def fit(
        self,
        memory: ShortTermMemory,
        generator: torch.Generator,
        *,
        updates: int = 1000,
        batch: int = 256,
        lr: float = 1e-3,
        follow: float = 0.02,
    ) -> list[float]:
        """Learn from what the memory holds; the losses, in units of the costs' squared scale.

        Args:
            follow: share of the way that the copy moves towards the critic at each update.

        Raises:
            UserError: a memory with nothing to learn from, or without the goals that the critic sees.
        """
        if self.target == "later":
            return self._fit_later(memory, generator, updates, batch, lr)
        futures = memory.futures(self.steps)
        if self.goal:
            need_goals(futures.goals, "this critic")
        self.head.standardise(futures.states)
        powers = self.discount ** torch.arange(self.steps, device=futures.costs.device)
        returns = (futures.costs * powers).sum(1)
        self.scale.copy_(returns.square().mean().sqrt().clamp(min=1e-6))
        left = self.discount ** futures.known.sum(1) * ~futures.over
        slow = copy.deepcopy(self).requires_grad_(False)
        kept, new = list[Tensor](slow.parameters()), list[Tensor](self.parameters())

        def loss() -> Tensor:
            index = draw(returns, batch, generator)
            with torch.no_grad():
                torch._foreach_lerp_(kept, new, follow)
                rest = slow(*some(futures.last, futures.last_goals, index))
            target = returns[index] + left[index] * rest
            prediction = self(*some(futures.states, futures.goals, index))
            return F.mse_loss(prediction / self.scale, target / self.scale)

        return descend(self, loss, updates=updates, lr=lr)

    def _fit_later(
        self, memory: ShortTermMemory, generator: torch.Generator, updates: int, batch: int, lr: float
    ) -> list[float]:
        if self.goal:
            raise UserError(
                "target 'later' regresses on states alone: use goal=False, or target 'discounted'"
            )
        self.head.standardise(memory.states)
        self.scale.copy_(memory.costs.square().mean().sqrt().clamp(min=1e-6))

        def loss() -> Tensor:
            states, costs = memory.sample_pairs(batch, self.steps, generator)
            return F.mse_loss(self(states) / self.scale, costs / self.scale)

        return descend(self, loss, updates=updates, lr=lr)


class CriticTerm:
    """The critic as a term of the cost, for the goals `[B, *L]` at hand; on the last step unless `reduce` says
    otherwise."""

    def __init__(self, critic: Critic, goal: Tensor | None = None, reduce: Reduce = "last") -> None:
        self.critic, self.goal, self.reduce = critic, goal, reduce

    def __call__(self, states: Tensor, actions: Tensor | None = None) -> Tensor:
        goal = None if self.goal is None else self.goal[:, None, None].expand_as(states)
        return self.critic(states, goal)

    def take(self, rows: Tensor) -> "CriticTerm":
        goal = self.goal if self.goal is None or len(self.goal) == 1 else self.goal[rows]
        return CriticTerm(self.critic, goal, self.reduce)

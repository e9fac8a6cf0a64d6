"""The semantic actor: commands from states, whether they were received or predicted.

TS-JEPA (Girgis et al., arXiv:2406.04853) trains an MLP on the frozen states of logged episodes to give the commands of
the controller that was logged, by their mean squared error. There the policy learns from encoded frames alone; ours
learns from predicted states too, since between transmissions it sees nothing else: from a logged step on, the world
model is given the commands that followed, and each state that it predicts is paired with the command of its step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from openjepa.agent.protocols import WorldModel

ROLLED = 512
"""Logged steps that the world model looks ahead from at a time."""


@dataclass(frozen=True, eq=False)
class Log:
    """An episode as a world model sees it.

    Attributes:
        states: `[T+1, *L]`.
        actions: `[M, block * A]`, model actions of which nothing is missing.
        begin: `[M]`, the environment step at which each begins, ascending.
    """

    states: Tensor
    actions: Tensor
    begin: Tensor


def received(logs: Sequence[Log]) -> tuple[Tensor, Tensor]:
    """States `[N, *L]` of logged steps and the actions `[N, A']` that were taken then."""
    return torch.cat([log.states[log.begin] for log in logs]), torch.cat([log.actions for log in logs])


@torch.no_grad()
def predicted(
    model: WorldModel, logs: Sequence[Log], ahead: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """States `[N, *L]` predicted from logged steps, 1 to `ahead` steps of the model before, and the actions `[N, A']`.

    One in `ahead` of the steps is looked ahead from, those with as many whole actions behind them; so there are about
    as many predicted states as received ones.
    """
    starts, plans, then = [], [], []
    for log in logs:
        place = torch.full((len(log.states) + ahead * model.block,), -1)
        place[log.begin] = torch.arange(len(log.begin))
        steps = place[log.begin[:, None] + model.block * torch.arange(ahead + 1)]
        steps = steps[(steps >= 0).all(1)]
        chosen = steps[torch.randperm(len(steps), generator=generator)[: -(-len(steps) // ahead)]]
        starts.append(log.states[log.begin[chosen[:, 0]]])
        plans.append(log.actions[chosen[:, :-1]])
        then.append(log.actions[chosen[:, 1:]])
    start, plan, following = torch.cat(starts), torch.cat(plans), torch.cat(then)
    rolled = [
        model.rollout(a[:, None], b[:, None])[:, 0]
        for a, b in zip(start.split(ROLLED), plan.split(ROLLED), strict=True)
    ]
    return torch.cat(rolled).flatten(0, 1), following.flatten(0, 1)

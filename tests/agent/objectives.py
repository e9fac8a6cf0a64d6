"""Objectives whose best plan is known."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from openjepa.agent.planners import CEM, ICEM, MPPI, Bounds, Gradient, PlannerChoice, as_space

Objective = Callable[[Tensor], Tensor]


class Box:
    """Bounds as a world gives them."""

    def __init__(self, low: list[float], high: list[float]) -> None:
        self.low, self.high = np.array(low, dtype=np.float32), np.array(high, dtype=np.float32)


def box(width: int = 2, size: float = 1.0) -> Bounds:
    space = as_space(Box([-size] * width, [size] * width))
    assert isinstance(space, Bounds)
    return space


def quadratic(target: Tensor) -> Objective:
    """Squared distance to `target` `[B, H, A]`; the plan is the target."""
    return lambda actions: (actions - target[:, None]).square().sum((2, 3))


def reach(goal: Tensor, weight: float) -> Objective:
    """A point mass x' = x + a from 0: sum of a^2 plus `weight` times its last squared distance to `goal` `[B, A]`.

    By symmetry every step is `weight * goal / (1 + weight * H)`.
    """
    return lambda actions: (
        actions.square().sum((2, 3)) + weight * (actions.sum(2) - goal[:, None]).square().sum(2)
    )


def reach_plan(goal: Tensor, weight: float, horizon: int) -> Tensor:
    step = weight * goal / (1 + weight * horizon)
    return step[:, None].expand(-1, horizon, -1)


CONTINUOUS: dict[str, PlannerChoice] = {
    "cem": CEM(horizon=4, samples=128, iterations=15, elites=16),
    "icem": ICEM(horizon=4, samples=128, iterations=15, elites=16, colour=0.5, decay=1.0),
    "mppi": MPPI(horizon=4, samples=256, iterations=15, elites=32, floor=0.01),
    "gradient": Gradient(horizon=4, iterations=60, restarts=3),
}


def opposite(horizon: int = 4, width: int = 2) -> Tensor:
    """Two problems whose plans point in opposite directions, `[2, H, A]`."""
    target = torch.linspace(0.2, 0.8, horizon * width).reshape(1, horizon, width)
    return torch.cat([target, -target])

"""Multi-layer perceptrons on vectors: a predictor, and an inverse model of actions."""

from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from openjepa.config import Choice, Width
from openjepa.nets.dynamics.actions import ActionEncoder, RawActions
from openjepa.nets.dynamics.base import Grid, Markov
from openjepa.nets.dynamics.gru import require_vectors


def perceptron(sizes: list[int]) -> nn.Sequential:
    """Linear layers of these sizes with ReLU between them."""
    layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


class MLP(Choice):
    """State and action through an MLP (TS-JEPA for remote control: side by side, one hidden layer of 1024)."""

    kind: Literal["mlp"] = "mlp"
    hidden: tuple[Width, ...] = Field((1024,), max_length=64)
    residual: bool = False
    """Whether it predicts the change of the state."""
    steer: Literal["beside", "film"] = "beside"
    """How the condition enters: beside the state, or by scale and shift of what every hidden layer has of the state
    (FiLM, arXiv:1709.07871). What an obstacle does is a product of where one is and where one goes: with `film` it is
    learned in a fraction of the steps."""
    actions: ActionEncoder = RawActions()

    def build(
        self, width: int, condition_dim: int, grid: Grid | None = None, head: nn.Module | None = None
    ) -> "MLPDynamics":
        """Raises UserError when states are not vectors."""
        require_vectors(self, grid)
        return MLPDynamics(self, width, condition_dim, head)


class MLPDynamics(Markov):
    """`[N, D]` and `[N, A']` give `[N, D]`."""

    def __init__(self, config: MLP, width: int, condition_dim: int, head: nn.Module | None) -> None:
        super().__init__((width,), condition_dim, head)
        self.residual = config.residual
        self.actions = config.actions.build(condition_dim, width)
        condition_dim = config.actions.out(condition_dim, width)
        steered = FiLM if config.steer == "film" else Beside
        self.mlp = steered(width, condition_dim, config.hidden, width)

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        change = self.mlp(state, self.actions(action))
        return state + change if self.residual else change


class Beside(nn.Sequential):
    """`[N, D]` and `[N, C]`, one after the other, through a perceptron."""

    def __init__(self, width: int, condition_dim: int, hidden: tuple[int, ...], out: int) -> None:
        super().__init__(*perceptron([width + condition_dim, *hidden, out]))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:  # ty: ignore[incompatible-method-override]
        return super().forward(torch.cat([x, condition], -1))


class FiLM(nn.Module):
    """`[N, D]` through linear layers with ReLU; before each ReLU `[N, C]` scales and shifts, at first by 1 and 0 and a
    little noise."""

    STEERING = 64

    def __init__(self, width: int, condition_dim: int, hidden: tuple[int, ...], out: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise([width, *hidden, out]))
        self.steer = nn.Sequential(
            nn.Linear(condition_dim, self.STEERING), nn.SiLU(), nn.Linear(self.STEERING, 2 * sum(hidden))
        )

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = (side.split(self.hidden, -1) for side in self.steer(condition).chunk(2, -1))
        *inner, last = self.layers
        for layer, gain, offset in zip(inner, scale, shift, strict=True):
            x = torch.addcmul(offset, layer(x), 1 + gain).relu()
        return last(x)


class Inverse(nn.Module):
    """An inverse model, what happened between two states of `size` numbers: `[..., *L]` twice gives `[..., out]`.

    Args:
        hidden, layers: width and number of hidden layers (EB-JEPA: two, PLDM: one).
    """

    def __init__(self, shape: tuple[int, ...], hidden: int, layers: int, out: int) -> None:
        super().__init__()
        self.axes, size = len(shape), torch.Size(shape).numel()
        self.mlp = perceptron([2 * size, *[hidden] * layers, out])

    def forward(self, state: Tensor, following: Tensor) -> Tensor:
        return self.mlp(torch.cat([state.flatten(-self.axes), following.flatten(-self.axes)], -1))

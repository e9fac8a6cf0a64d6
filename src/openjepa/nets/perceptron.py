"""Multi-layer perceptrons on vectors: a predictor, and what tells actions from two states."""

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from openjepa.config import Choice
from openjepa.nets.actions import ActionEncoder, RawActions
from openjepa.nets.dynamics import Grid, Markov
from openjepa.nets.recurrent import require_vectors


def perceptron(sizes: list[int]) -> nn.Sequential:
    """Linear layers of these sizes with ReLU between them."""
    layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


class MLP(Choice):
    """State and action side by side through an MLP (TS-JEPA for remote control: one hidden layer of 1024)."""

    kind: Literal["mlp"] = "mlp"
    hidden: tuple[int, ...] = (1024,)
    residual: bool = False
    """Whether it predicts the change of the state."""
    actions: ActionEncoder = RawActions()

    def build(
        self, width: int, actions: int, grid: Grid | None = None, head: nn.Module | None = None
    ) -> "MLPDynamics":
        """Raises UserError when states are not vectors."""
        require_vectors(self, grid)
        return MLPDynamics(self, width, actions, head)


class MLPDynamics(Markov):
    """`[N, D]` and `[N, A']` give `[N, D]`."""

    def __init__(self, config: MLP, width: int, actions: int, head: nn.Module | None) -> None:
        super().__init__((width,), actions, head)
        self.residual = config.residual
        self.actions = config.actions.build(actions, width)
        self.mlp = perceptron([width + config.actions.out(actions, width), *config.hidden, width])

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        change = self.mlp(torch.cat([state, self.actions(action)], -1))
        return state + change if self.residual else change


class Inverse(nn.Module):
    """What happened between two states of `size` numbers: `[..., *L]` twice gives `[..., out]`.

    Two hidden layers, as EB-JEPA's and PLDM's inverse dynamics model.
    """

    def __init__(self, shape: tuple[int, ...], hidden: int, out: int) -> None:
        super().__init__()
        self.axes, size = len(shape), torch.Size(shape).numel()
        self.mlp = perceptron([2 * size, hidden, hidden, out])

    def forward(self, state: Tensor, following: Tensor) -> Tensor:
        return self.mlp(torch.cat([state.flatten(-self.axes), following.flatten(-self.axes)], -1))

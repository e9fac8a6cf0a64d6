"""Recurrent predictors of vectors."""

from typing import Literal

from torch import Tensor, nn

from openjepa.config import Choice
from openjepa.errors import UserError
from openjepa.nets.dynamics.actions import ActionEncoder, RawActions
from openjepa.nets.dynamics.base import Grid, Markov


class GRU(Choice):
    """A GRU whose hidden state *is* the latent and whose input is the action (PLDM, EB-JEPA).

    There it ends in the encoder's own last norm: `head=Borrowed(encoder.norm)`.
    """

    kind: Literal["gru"] = "gru"
    actions: ActionEncoder = RawActions()

    def build(
        self, width: int, condition_dim: int, grid: Grid | None = None, head: nn.Module | None = None
    ) -> "GRUDynamics":
        """Raises UserError when states are not vectors."""
        require_vectors(self, grid)
        return GRUDynamics(self, width, condition_dim, head)


class GRUDynamics(Markov):
    """`[N, D]` and `[N, A']` give `[N, D]`."""

    def __init__(self, config: GRU, width: int, condition_dim: int, head: nn.Module | None) -> None:
        super().__init__((width,), condition_dim, head)
        self.actions = config.actions.build(condition_dim, width)
        self.cell = nn.GRUCell(config.actions.out(condition_dim, width), width)

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        return self.cell(self.actions(action), state)


def require_vectors(config: Choice, grid: Grid | None) -> None:
    """Raises UserError when the latent is a map or tokens."""
    if grid is not None:
        raise UserError(
            f"predictor {config.kind!r} takes one vector a frame, the encoder gives {grid[0]} x {grid[1]}: "
            "have the encoder give vectors, or take another predictor"
        )

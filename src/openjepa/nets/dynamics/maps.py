"""Convolutional predictors of latent maps."""

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from openjepa.config import Choice
from openjepa.errors import UserError
from openjepa.nets.dynamics.actions import ActionEncoder, RawActions
from openjepa.nets.dynamics.base import Grid, Markov


class Maps(Choice):
    """Convolutions that predict the change of a map, the action laid over it as further channels (PLDM, maze).

    Each but the last is followed by group norm, in groups of 8 channels, and ReLU.
    """

    kind: Literal["maps"] = "maps"
    channels: int = Field(32, ge=8, le=4096, multiple_of=8)
    layers: int = Field(3, ge=2, le=256)
    kernel: int = Field(3, ge=1, le=255)
    """Odd, so that the map keeps its size."""
    actions: ActionEncoder = RawActions()

    @model_validator(mode="after")
    def _odd(self) -> "Maps":
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, so that the map keeps its size: use {self.kernel + 1}")
        return self

    def build(
        self, width: int, condition_dim: int, grid: Grid | None = None, head: nn.Module | None = None
    ) -> "MapDynamics":
        """Raises UserError when states are not maps."""
        if grid is None:
            raise UserError(
                "predictor 'maps' takes maps, the encoder gives one vector a frame: take 'gru' or 'mlp'"
            )
        return MapDynamics(self, width, condition_dim, grid, head)


class MapDynamics(Markov):
    """`[N, D, h, w]` and `[N, A']` give `[N, D, h, w]`."""

    def __init__(
        self, config: Maps, width: int, condition_dim: int, grid: Grid, head: nn.Module | None
    ) -> None:
        super().__init__((width, *grid), condition_dim, head)
        self.actions = config.actions.build(condition_dim, width)
        sizes = [width + config.actions.out(condition_dim, width), *[config.channels] * (config.layers - 1)]
        layers: list[nn.Module] = []
        for size in sizes[:-1]:
            layers += [
                nn.Conv2d(size, config.channels, config.kernel, padding="same"),
                nn.GroupNorm(config.channels // 8, config.channels),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(sizes[-1], width, config.kernel, padding="same"))

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        condition = self.actions(action)[..., None, None].expand(-1, -1, *state.shape[-2:])
        return state + self.layers(torch.cat([state, condition], 1))

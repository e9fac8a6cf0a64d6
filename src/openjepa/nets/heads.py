"""Between the encoder and the energy."""

from itertools import pairwise
from typing import Annotated, ClassVar, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from openjepa.common.distributed import BatchNorm
from openjepa.config import Choice
from openjepa.jepa import mean_of
from openjepa.nets.aggregation import Aggregation


class NoHead(Choice):
    """The energy compares the encoder's tokens."""

    kind: Literal["none"] = "none"
    pools: ClassVar[bool] = False

    def build(self, width: int) -> nn.Module:
        return nn.Identity()

    def out(self, width: int) -> int:
        return width


class Projector(Choice):
    """The mean over tokens, then an MLP with batch norm, to one embedding a view."""

    kind: Literal["projector"] = "projector"
    pools: ClassVar[bool] = True
    hidden: int = Field(2048, ge=1, le=65_536)
    layers: int = Field(2, ge=0, le=256)
    """Hidden layers."""
    width: int = Field(64, ge=1, le=65_536)
    """Numbers in the embedding."""
    activation: Literal["gelu", "relu"] = "gelu"
    """LeWM: gelu, LeJEPA: relu."""
    embedding: int | None = Field(None, ge=1, le=65_536)
    """Width of a linear layer between the mean over tokens and the MLP (LeJEPA: 512); none: there is none."""

    def build(self, width: int) -> nn.Module:
        return PooledMLP(self, width)

    def out(self, width: int) -> int:
        return self.width


class Sphere(Choice):
    """The mean over tokens, at length sqrt(D): what a cosine leaves free cannot drift over the steps of a rollout."""

    kind: Literal["sphere"] = "sphere"
    pools: ClassVar[bool] = True

    def build(self, width: int) -> nn.Module:
        return PooledDirection()

    def out(self, width: int) -> int:
        return width


Head = Annotated[NoHead | Projector | Sphere | Aggregation, Field(discriminator="kind")]


class Pooled(nn.Module):
    """A head of the mean over tokens: what it gives of that mean alone is what it gives of the tokens."""

    def pool(self, tokens_BND: Tensor, present: Tensor | None = None) -> Tensor:
        """`[B, 1, D]`; of the tokens that are there (`present`, `[B, N]` bool; `None`: all)."""
        return mean_of(tokens_BND, present).unsqueeze(1)


class PooledMLP(Pooled):
    """`[B, N, D] -> [B, 1, P]`."""

    def __init__(self, config: Projector, width: int) -> None:
        super().__init__()
        self.embed = nn.Linear(width, config.embedding) if config.embedding else nn.Identity()
        sizes = [config.embedding or width] + [config.hidden] * config.layers
        active = nn.GELU if config.activation == "gelu" else nn.ReLU
        hidden = [
            layer
            for a, b in pairwise(sizes)
            for layer in (nn.Linear(a, b, bias=False), BatchNorm(b), active())
        ]
        self.mlp = nn.Sequential(*hidden, nn.Linear(sizes[-1], config.width))

    def forward(self, tokens_BND: Tensor) -> Tensor:
        return self.mlp(self.embed(self.pool(tokens_BND)[:, 0])).unsqueeze(1)


class PooledDirection(Pooled):
    """`[B, N, D] -> [B, 1, D]`."""

    def forward(self, tokens_BND: Tensor) -> Tensor:
        return F.normalize(self.pool(tokens_BND), dim=-1) * tokens_BND.shape[-1] ** 0.5

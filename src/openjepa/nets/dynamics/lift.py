"""Maps from the states of one level of a hierarchy to those of the next."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from openjepa.config import Choice, Width
from openjepa.nets.dynamics.mlp import perceptron


class Same(Choice):
    """The identity: level 2 predicts level 1's states (HWM)."""

    kind: Literal["same"] = "same"

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        """The module from states of this shape to level 2's."""
        return nn.Identity()


class Lift(Choice):
    """An MLP on level 1's states, flattened, which gives level 2 other states.

    Guard and similarity shape them: to differ among the states of a window, in few and uncorrelated directions, and to
    change little from one to the next, they must follow how long it takes to get from one place to another.
    """

    kind: Literal["mlp"] = "mlp"
    hidden: tuple[Width, ...] = Field((256,), max_length=64)
    width: int = Field(32, ge=1, le=65_536)

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        return Flat(len(shape), perceptron([torch.Size(shape).numel(), *self.hidden, self.width]))


class Flat(nn.Module):
    """`[..., *L]`, L of so many axes, as `[..., D]` vectors through `net`."""

    def __init__(self, axes: int, net: nn.Module) -> None:
        super().__init__()
        self.axes, self.net = axes, net

    def forward(self, states: Tensor) -> Tensor:
        return self.net(states.flatten(-self.axes))


Lifting = Annotated[Same | Lift, Field(discriminator="kind")]

"""Latent actions: what happened between two frames, inferred from both, through a narrow channel."""

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.config import Choice
from openjepa.latents.base import Inferred, Latent, Predict
from openjepa.latents.capacity import KL, Capacity, Codes
from openjepa.nets.dynamics.base import Dynamics
from openjepa.nets.dynamics.mlp import Inverse


class LatentAction(Choice):
    """An inverse model q(z | s_t, s_{t+1}), whose z conditions the predictor as if it were an action
    (arXiv:2601.05230).

    It sees the frame to be predicted, so its capacity must be limited, or z is that frame.
    """

    kind: Literal["action"] = "action"
    width: int = Field(128, ge=1, le=65_536)
    """Z, numbers of z."""
    hidden: int = Field(512, ge=1, le=65_536)
    """Width of the inverse model's two hidden layers."""
    capacity: Capacity = KL()

    def build(self, shape: tuple[int, ...]) -> "LatentActions":
        """The latent variable for states of this shape: a vector, or a map or tokens small enough to be flattened."""
        return LatentActions(self, shape)

    def predictor(self, build: Callable[[int], Dynamics]) -> Dynamics:
        """A predictor conditioned on z; `build` makes one for the given count of numbers beside the actions."""
        return build(self.width)


class LatentActions(Latent):
    """The latent variable of an inverse model; its distribution does not depend on the state."""

    def __init__(self, config: LatentAction, shape: tuple[int, ...]) -> None:
        super().__init__(shape, config.width, config.width)
        self.limit = config.capacity.build(config.width)
        self.inverse = Inverse(shape, config.hidden, 2, self.limit.inputs)

    @property
    def finite(self) -> bool:
        return self.limit.finite

    @property
    def drawable(self) -> bool:
        return self.limit.drawable

    def infer(
        self, s: Tensor, s_next: Tensor, predict: Predict | None = None, rng: Rng | None = None
    ) -> Inferred:
        return self.limit(self.inverse(s, s_next), rng)

    def sample(self, n: int, s: Tensor, generator: torch.Generator) -> Tensor:
        return self.limit.sample((*self.before(s), n), generator).to(s.device)

    def noise(self, count: int, steps: int, generator: torch.Generator) -> Tensor:
        return self.limit.sample((count, steps), generator)

    def settle(self, s: Tensor, noise: Tensor) -> Tensor:
        return noise

    def expected(self, s: Tensor) -> Tensor:
        return self.limit.expected().to(s).expand(*self.before(s), -1)

    def penalty(self, s: Tensor, z: Tensor) -> Tensor:
        return self.limit.penalty(z)

    def enumerate(self, s: Tensor) -> tuple[Tensor, Tensor]:
        if not isinstance(self.limit, Codes):
            return super().enumerate(s)
        before, codes = self.before(s), self.limit.codes.detach()
        return codes.expand(*before, -1, -1), self.limit.log_probability().expand(*before, -1)

"""A predictor that draws an unknown z step by step, at the states that it predicts."""

from collections.abc import Callable

import torch
from torch import Tensor

from openjepa.nets.dynamics.base import Dynamics, Memory


class DrawingDynamics(Dynamics):
    """A predictor conditioned on z where it is known, else on the z that noise means at the state of that step.

    How likely a z is depends on the state (a mixture's router), which in a rollout is known only once it is predicted.
    An action is A' numbers, then Z of z, NaN where it is to be drawn, then N of noise.

    Args:
        predictor: for actions of A' + Z numbers; trained and saved elsewhere.
        width: Z.
        chance: N.
        settle: states `[..., *L]` and noise `[..., N]` to z, as `Latent.settle`.
    """

    def __init__(
        self, predictor: Dynamics, width: int, chance: int, settle: Callable[[Tensor, Tensor], Tensor]
    ) -> None:
        super().__init__(predictor.shape, predictor.condition_dim + chance, predictor.history)
        self._predictor, self._settle = (predictor,), settle
        self._parts = [predictor.condition_dim - width, width, chance]

    def memory(self) -> Memory:
        return Memory([self._predictor[0].memory()])

    def predict(self, states: Tensor, actions: Tensor, memory: Memory, newest: bool) -> Tensor:
        condition, z, noise = actions.split(self._parts, -1)
        z = torch.where(z.isnan(), self._settle(states, noise), z)
        return self._predictor[0].extend(states, torch.cat([condition, z], -1), memory.parts[0], newest)

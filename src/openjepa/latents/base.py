"""The interface of latent variables."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.nets.dynamics.base import Dynamics

Predict = Callable[[Tensor, Tensor], Tensor]
"""States `[..., *L]` and n values of z for each, `[..., n, Z]`, give next states `[..., n, *L]`."""

LatentCost = Callable[[Tensor], Tensor]
"""The cost of n values of z, `[..., n, Z]`: `[..., n]`."""

LatentDistance = Literal["l2", "cosine"]


@dataclass(frozen=True, eq=False)
class Inferred:
    """z, and what training adds to its loss.

    Attributes:
        z: `[..., Z]`.
        loss: scalar, the price of the information in z, weighted.
        terms: its parts by name, detached scalars.
    """

    z: Tensor
    loss: Tensor
    terms: dict[str, Tensor]


class Latent(nn.Module, ABC):
    """A latent variable of `width` numbers Z that stands for what happened between two states of shape `*L`.

    `...` below are any axes that come before those of the state.

    Attributes:
        shape: `L`.
        width: Z.
        chance: N, numbers of noise that `settle` makes a z of.
        finite: whether its values can be enumerated.
    """

    def __init__(self, shape: tuple[int, ...], width: int, chance: int) -> None:
        super().__init__()
        self.shape, self.width, self.chance = shape, width, chance

    @property
    @abstractmethod
    def finite(self) -> bool: ...

    @property
    def drawable(self) -> bool:
        """Whether enough is known to `sample`."""
        return True

    @abstractmethod
    def infer(
        self, s: Tensor, s_next: Tensor, predict: Predict | None = None, rng: Rng | None = None
    ) -> Inferred:
        """z between two states, `[..., *L]` each; from `rng` where it is random, its mode without.

        Raises:
            UserError: it is found by comparing predictions, and `predict` is missing.
        """

    @abstractmethod
    def sample(self, n: int, s: Tensor, generator: torch.Generator) -> Tensor:
        """n values for each state `[..., *L]`, from what is expected there: `[..., n, Z]`."""

    @abstractmethod
    def noise(self, count: int, steps: int, generator: torch.Generator) -> Tensor:
        """Noise that decides z in `count` futures of so many steps, before any state is known: `[count, steps, N]`."""

    @abstractmethod
    def settle(self, s: Tensor, noise: Tensor) -> Tensor:
        """The z that noise `[..., N]` means at states `[..., *L]`: `[..., Z]`, as likely as `sample` would draw it."""

    @abstractmethod
    def expected(self, s: Tensor) -> Tensor:
        """The mean of z at `[..., *L]`: `[..., Z]`."""

    @abstractmethod
    def penalty(self, s: Tensor, z: Tensor) -> Tensor:
        """R(z), how unexpected `[..., n, Z]` is at `[..., *L]`: `[..., n]`, as -log p up to a constant."""

    def enumerate(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """All K values, `[..., K, Z]`, and the logarithms of their probabilities at `[..., *L]`, `[..., K]`.

        Raises:
            UserError: there are infinitely many.
        """
        raise UserError(
            f"a latent of {self.width} continuous numbers cannot be enumerated: sample or optimise it"
        )

    def optimise(
        self,
        objective: LatentCost,
        s: Tensor,
        generator: torch.Generator,
        *,
        weight: float = 0.0,
        samples: int = 32,
        steps: int = 50,
        rate: float = 0.1,
    ) -> tuple[Tensor, Tensor]:
        """The z `[..., Z]` of least `objective(z) + weight * penalty(z)`, and that least value, `[...]`.

        All values are tried where they are finite; else `samples` of them take `steps` of Adam at `rate`. With the
        prediction error as objective the value is LeCun's energy F(x, y) = min_z D(y, Pred(x, z)) + R(z).
        """

        def energy(z: Tensor) -> Tensor:
            return objective(z) + weight * self.penalty(s, z) if weight else objective(z)

        if self.finite:
            z = self.enumerate(s)[0]
        else:
            start = self.sample(samples, s, generator)
            z = torch.cat([start, _descend(energy, start, steps, rate)], -2)
        with torch.no_grad():
            values, best = energy(z).min(-1)
        return z.take_along_dim(best[..., None, None], -2).squeeze(-2), values

    def before(self, s: Tensor) -> torch.Size:
        """The axes of `[..., *L]` that come before those of the state."""
        return s.shape[: s.dim() - len(self.shape)]


def _descend(energy: LatentCost, start: Tensor, steps: int, rate: float) -> Tensor:
    z = start.detach().clone()
    optimiser = torch.optim.Adam([z], lr=rate)
    for _ in range(steps):
        with torch.enable_grad():
            (z.grad,) = torch.autograd.grad(energy(z.requires_grad_()).sum(), z)
        optimiser.step()
    return z.detach()


def one_step(dynamics: Dynamics, actions: Tensor | None = None) -> Predict:
    """A function that predicts from single states, each under n values of z, after the same `actions` `[..., A']`."""

    def predict(s: Tensor, z: Tensor) -> Tensor:
        before = z.shape[:-2]
        condition = (
            z if actions is None else torch.cat([actions.unsqueeze(-2).expand(*z.shape[:-1], -1), z], -1)
        )
        last = len(before) - 1
        future = dynamics.unroll(s.flatten(0, last).unsqueeze(1), condition.flatten(0, last).unsqueeze(2))
        return future.squeeze(2).unflatten(0, before)

    return predict


def distance(prediction: Tensor, target: Tensor, axes: int, kind: LatentDistance = "l2") -> Tensor:
    """`[..., *L]` twice, L of so many axes, give `[...]`: the mean square, or one minus the cosine."""
    prediction, target = prediction.flatten(-axes), target.flatten(-axes)
    if kind == "cosine":
        return 1 - F.cosine_similarity(prediction, target, dim=-1)
    return (prediction - target).square().mean(-1)

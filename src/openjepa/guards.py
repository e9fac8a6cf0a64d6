"""What keeps the representation from collapsing when the target's asymmetry alone does not.

A guard is given embeddings, a list of `[B, D]` tensors (one per view, or per sampled token), and returns a penalty
computed on the *global* batch: the same value and gradient on any number of processes.
"""

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor

from openjepa.config import Choice
from openjepa.parallel import global_mean, world_size
from openjepa.rng import Rng

SIGREG_NULL = 1.0533
"""Expected SIGReg of a standard normal batch (17 knots on [-3, 3]); a collapsed one gives 0.402 N."""


class NoGuard(Choice):
    """Nothing beyond the target's asymmetry."""

    kind: Literal["none"] = "none"

    def __call__(self, embeddings: list[Tensor], rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        return torch.zeros((), device=embeddings[0].device), {}

    def combine(self, energy: Tensor, penalty: Tensor) -> Tensor:
        return energy


class VICReg(Choice):
    """Hinge on every dimension's standard deviation plus squared off-diagonal covariance.

    Bardes, Ponce & LeCun, arXiv:2105.04906, eq. 1-2: the std hinge at 1 with eps 1e-4; the covariance is divided by D.
    `loss = energy + std * hinge + covariance * off-diagonal` (energy takes the place of the invariance term).
    """

    kind: Literal["vicreg"] = "vicreg"
    std: float = Field(1.0, ge=0)
    """Weight of the variance hinge."""
    covariance: float = Field(0.04, ge=0)
    """Weight of the covariance term (the paper's ratio: 25 to 1)."""

    def __call__(self, embeddings: list[Tensor], rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.autocast(embeddings[0].device.type, enabled=False):
            terms = [self._one(z.float()) for z in embeddings]
        std, covariance = (torch.stack(parts).mean() for parts in zip(*terms, strict=True))
        logged = {"vicreg/std": std.detach(), "vicreg/covariance": covariance.detach()}
        return self.std * std + self.covariance * covariance, logged

    def _one(self, z: Tensor) -> tuple[Tensor, Tensor]:
        count, width = len(z) * world_size(), z.shape[1]
        z = z - global_mean(z.mean(0)).detach()  # exact: the gradient through the mean cancels
        moments = global_mean(z.T @ z / len(z)) * count / max(count - 1, 1)
        variance = moments.diagonal()
        hinge = F.relu(1 - torch.sqrt(variance + 1e-4)).mean()
        off_diagonal = moments.square().sum() - variance.square().sum()
        return hinge, off_diagonal / width

    def combine(self, energy: Tensor, penalty: Tensor) -> Tensor:
        return energy + penalty


class SIGReg(Choice):
    """Push random one-dimensional projections towards N(0, 1) by the Epps-Pulley statistic.

    Balestriero & LeCun, arXiv:2511.08544, section 4. Per projection, with N the global batch,
    `T = N * integral of |phi(t) - exp(-t^2/2)|^2 exp(-t^2/2) dt`, trapezoid on `knots` points of [-3, 3] (the released
    code's range; the paper's text says [-5, 5] and its ablation shows no difference). Directions are fresh every
    step, from the step's seed, equal on all processes. Because of the factor N the pull grows with the global batch.
    `loss = (1 - weight) * energy + weight * SIGReg`, mean over views.
    """

    kind: Literal["sigreg"] = "sigreg"
    weight: float = Field(0.05, gt=0, lt=1)
    """The paper's lambda."""
    slices: int = Field(1024, ge=1)
    knots: int = Field(17, ge=3)
    """Odd, so that 0 is among them."""

    @field_validator("knots")
    @classmethod
    def _odd(cls, knots: int) -> int:
        if knots % 2 == 0:
            raise ValueError(f"must be odd, so that 0 is among the knots: use {knots + 1}")
        return knots

    def __call__(self, embeddings: list[Tensor], rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        width = embeddings[0].shape[1]
        directions = torch.randn(width, self.slices, generator=rng.generator()).to(embeddings[0].device)
        directions /= directions.norm(dim=0)
        value = torch.stack([epps_pulley(z, directions, self.knots) for z in embeddings]).mean()
        return value, {"sigreg": value.detach(), "sigreg/null": value.detach() / SIGREG_NULL}

    def combine(self, energy: Tensor, penalty: Tensor) -> Tensor:
        return (1 - self.weight) * energy + self.weight * penalty


def epps_pulley(z: Tensor, directions: Tensor, knots: int = 17) -> Tensor:
    """Mean Epps-Pulley statistic of `z` `[B, D]` along unit `directions` `[D, M]`, against N(0, 1), in float32."""
    with torch.autocast(z.device.type, enabled=False):
        half = (knots + 1) // 2
        t = torch.linspace(0, 3, half, device=z.device)
        step = t[1]
        normal = torch.exp(-t.square() / 2)
        weights = 2 * step * normal  # the integrand is even: [-3, 3] is twice [0, 3]
        weights[0] = weights[0] / 2
        weights[-1] = weights[-1] / 2
        projected = z.float() @ directions.float()
        real, imaginary = _characteristic(projected * step, half)
        real, imaginary = global_mean(torch.stack([real, imaginary])).unbind(0)
        distance = (real - normal[:, None]).square() + imaginary.square()
        return (weights @ distance).mean() * len(z) * world_size()


def _characteristic(angle: Tensor, half: int) -> tuple[Tensor, Tensor]:
    """Means over the batch of cos(k a) and sin(k a), k = 0..half-1: `[half, M]` each.

    The knots are equispaced from 0, so one sine and cosine and the Chebyshev recurrence give them all.
    """
    cosine, sine = torch.cos(angle), torch.sin(angle)
    real, imaginary = [torch.ones_like(angle), cosine], [torch.zeros_like(angle), sine]
    for _ in range(2, half):
        real.append(2 * cosine * real[-1] - real[-2])
        imaginary.append(2 * cosine * imaginary[-1] - imaginary[-2])
    return torch.stack([c.mean(0) for c in real]), torch.stack([s.mean(0) for s in imaginary])


Guard = Annotated[NoGuard | VICReg | SIGReg, Field(discriminator="kind")]

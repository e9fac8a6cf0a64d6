"""What keeps the representation from collapsing when the target's asymmetry alone does not.

A guard is given embeddings, a list of `[B, D]` tensors (one per view, or per sampled token), and returns a penalty
computed on the *global* batch: the same value and gradient on any number of processes.
"""

from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor

from openjepa.common.distributed import global_mean, world_size
from openjepa.common.rng import Rng
from openjepa.config import Choice, OneOf

KNOTS = 33
"""Points of SIGReg's quadrature on [-3, 3], of which only those from 0 up are computed: the released package's 17 on
[0, 3]."""


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

    @property
    def of_batch(self) -> bool:
        return True

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
    slices: int = Field(1024, ge=1, le=65_536)
    knots: int = Field(KNOTS, ge=3, le=4096)
    """Points on [-3, 3]; odd, so that 0 is among them. The released package counts those from 0 up: its 17 are 33 here.
    Fewer are cheaper and tell embeddings far from 0 apart less well."""

    @field_validator("knots")
    @classmethod
    def _odd(cls, knots: int) -> int:
        if knots % 2 == 0:
            raise ValueError(f"must be odd, so that 0 is among the knots: use {knots + 1}")
        return knots

    @property
    def of_batch(self) -> bool:
        return True

    def __call__(self, embeddings: list[Tensor], rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        width = embeddings[0].shape[1]
        directions = torch.randn(width, self.slices, generator=rng.generator()).to(embeddings[0].device)
        directions /= directions.norm(dim=0)
        value = torch.stack([epps_pulley(z, directions, self.knots) for z in embeddings]).mean()
        return value, {"sigreg": value.detach(), "sigreg/null": value.detach() / sigreg_null(self.knots)}

    def combine(self, energy: Tensor, penalty: Tensor) -> Tensor:
        return (1 - self.weight) * energy + self.weight * penalty


def epps_pulley(z: Tensor, directions: Tensor, knots: int = KNOTS) -> Tensor:
    """Mean Epps-Pulley statistic of `z` `[B, D]` along unit `directions` `[D, M]`, against N(0, 1), in float32."""
    with torch.autocast(z.device.type, enabled=False):
        t, weights = quadrature(knots, z.device)
        normal = torch.exp(-t.square() / 2)
        real, imaginary = _Characteristic.apply(z.float() @ directions.float() * t[1], len(t))
        real, imaginary = global_mean(torch.stack([real, imaginary])).unbind(0)
        distance = (real - normal[:, None]).square() + imaginary.square()
        return (weights @ distance).mean() * len(z) * world_size()


def quadrature(knots: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """The points from 0 up of `knots` on [-3, 3], and their weights: an even f times exp(-t^2/2), integrated."""
    t = torch.linspace(0, 3, (knots + 1) // 2, device=device)
    weights = 2 * t[1] * torch.exp(-t.square() / 2)  # [-3, 3] is twice [0, 3]
    weights[0] = weights[0] / 2
    weights[-1] = weights[-1] / 2
    return t, weights


@cache
def sigreg_null(knots: int = KNOTS) -> float:
    """Expected SIGReg of a batch drawn from N(0, I), of any size N: 1.0525 with 33 knots, 1.0519 with 17.

    The N-sample characteristic function has mean exp(-t^2/2) and variance (1 - exp(-t^2)) / N. A batch that is
    collapsed to one point at 0 gives 0.402 N.

    Examples:
        >>> round(sigreg_null(), 4)
        1.0525
    """
    t, weights = quadrature(knots)
    return float((weights * (1 - torch.exp(-t.square()))).sum())


class _Characteristic(torch.autograd.Function):
    """Means over the batch of cos(k a) and sin(k a), k = 0..count-1, of angles a `[N, M]`: `[count, M]` each.

    The knots are equispaced from 0, so one cosine and sine and a recurrence give them all; the gradient runs through it
    once more, for which nothing but the angles is kept.
    """

    @staticmethod
    def forward(ctx: Any, angle: Tensor, count: int) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(angle)
        ctx.count = count
        pairs = [
            (sign * cosine.mean(0), sign * sine.mean(0)) for sign, cosine, sine in _multiples(angle, count)
        ]
        real, imaginary = zip(*pairs, strict=True)
        return torch.stack(real), torch.stack(imaginary)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (angle,) = ctx.saved_tensors
        factors = torch.arange(ctx.count, device=angle.device)[:, None] / len(angle)
        real, imaginary = (grad * factors for grad in grads)
        total = torch.zeros_like(angle)
        for k, (sign, cosine, sine) in enumerate(_multiples(angle, ctx.count)):
            total.addcmul_(sine, real[k], value=-sign).addcmul_(cosine, imaginary[k], value=sign)
        return total, None


def _multiples(angle: Tensor, count: int) -> Iterator[tuple[int, Tensor, Tensor]]:
    """A sign, and cos(k a) and sin(k a) times it, for k = 0..count-1; the tensors are overwritten as it goes on.

    Both obey x_k = 2 cos(a) x_{k-1} - x_{k-2} (Chebyshev). With the signs + + - - it is a sum, done in place.
    """
    signs = (1, 1, -1, -1)
    before, now = (torch.ones_like(angle), torch.zeros_like(angle)), (torch.cos(angle), torch.sin(angle))
    twice = 2 * now[0]
    for k in range(count):
        yield signs[k % 4], *before
        value = signs[(k + 1) % 4] * signs[(k + 2) % 4]
        for old, last in zip(before, now, strict=True):
            old.addcmul_(twice, last, value=value)
        before, now = now, before


Guard = Annotated[NoGuard | VICReg | SIGReg, OneOf("guard")]

"""Limits of a latent action's capacity, which keep it from carrying the whole next frame: three kinds.

Garrido et al., "Learning Latent Action World Models In The Wild", arXiv:2601.05230. There, noise and sparsity beat a
codebook on videos of the world, and moderate capacity plans best.
"""

import math
from abc import ABC, abstractmethod
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from openjepa.common.distributed import global_mean, rank, world_size
from openjepa.common.rng import Rng
from openjepa.config import Choice
from openjepa.errors import UserError
from openjepa.latents.base import Inferred


class KL(Choice):
    """z is drawn from a Gaussian whose divergence from N(0, I) is paid for ("noisy"): at test time N(0, I) is drawn."""

    kind: Literal["kl"] = "kl"
    weight: float = Field(1e-3, ge=0)
    """The paper's beta, on nats a transition."""
    free: float = Field(0.0, ge=0)
    """Nats that cost nothing, so that z is not given up before the predictor has a use for it (free bits, Kingma et
    al., arXiv:1606.04934; theirs of each group of dimensions, ours of the mean over the batch)."""

    @property
    def of_batch(self) -> bool:
        return self.free > 0

    def build(self, width: int) -> "Limit":
        return Gaussian(self, width)


class Sparse(Choice):
    """Few numbers of z differ from 0, yet none dies: `l1 |z|`, a floor on the norm, and variance, covariance and mean.

    Weights but `l1` are the paper's. Its mean term is printed without a square, which has no minimum; ours has one.
    At test time z is drawn from those that were last inferred in training.
    """

    kind: Literal["sparse"] = "sparse"
    l1: float = Field(0.01, ge=0)
    """Weight of the L1 norm, which sets the capacity."""
    floor: float = Field(1.0, ge=0)
    """Weight of `max(sqrt(Z) - |z|^2, 0)`."""
    variance: float = Field(0.1, ge=0)
    covariance: float = Field(0.001, ge=0)
    mean: float = Field(0.1, ge=0)
    kept: int = Field(1024, ge=1, le=1_000_000)
    """Inferred values that are kept to draw from."""

    @property
    def of_batch(self) -> bool:
        return True

    def build(self, width: int) -> "Limit":
        return SparseCode(self, width)


class Codebook(Choice):
    """z is the nearest of `codes` vectors (VQ, straight-through); codes that fall out of use start anew."""

    kind: Literal["codebook"] = "codebook"
    codes: int = Field(16, ge=2, le=65_536)
    commitment: float = Field(0.25, ge=0)
    """Weight of what pulls the inferred vector towards its code, over what pulls the code."""
    decay: float = Field(0.99, gt=0, lt=1)
    """Per batch, of the average that counts use."""
    dead: float = Field(0.1, ge=0, lt=1)
    """A code used less than this share of 1 / codes moves to a vector of the batch; so do all, at the first."""

    @property
    def of_batch(self) -> bool:
        return True

    def build(self, width: int) -> "Limit":
        return Codes(self, width)


Capacity = Annotated[KL | Sparse | Codebook, Field(discriminator="kind")]


class Limit(nn.Module, ABC):
    """The limit between the inverse model's output, `[..., inputs]`, and z, `[..., Z]`; methods as `Latent`'s."""

    inputs: int
    finite: bool = False

    @property
    def drawable(self) -> bool:
        return True

    @abstractmethod
    def forward(self, raw: Tensor, rng: Rng | None) -> Inferred: ...

    @abstractmethod
    def sample(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor: ...

    @abstractmethod
    def expected(self) -> Tensor:
        """`[Z]`."""

    @abstractmethod
    def penalty(self, z: Tensor) -> Tensor: ...


class Gaussian(Limit):
    """Mean and logarithm of the variance, side by side."""

    def __init__(self, config: KL, width: int) -> None:
        super().__init__()
        self.config, self.width, self.inputs = config, width, 2 * width

    def forward(self, raw: Tensor, rng: Rng | None) -> Inferred:
        mean, logarithm = raw.float().chunk(2, -1)
        logarithm = logarithm.clamp(-12, 12)
        z = mean
        if rng is not None:
            z = mean + (logarithm / 2).exp() * rng.normal(*mean.shape).to(mean.device)
        nats = (mean.square() + logarithm.exp() - 1 - logarithm).sum(-1).mean() / 2
        spent = (nats - self.config.free) * (global_mean(nats.detach()) > self.config.free)
        return Inferred(z, self.config.weight * spent, {"latent/nats": nats.detach()})

    def sample(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return torch.randn(*shape, self.width, generator=generator)

    def expected(self) -> Tensor:
        return torch.zeros(self.width)

    def penalty(self, z: Tensor) -> Tensor:
        return z.square().sum(-1) / 2


class SparseCode(Limit):
    """The vector itself."""

    def __init__(self, config: Sparse, width: int) -> None:
        super().__init__()
        self.config, self.width, self.inputs = config, width, width
        self.register_buffer("seen", torch.zeros(config.kept, width))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))
        self.seen: Tensor
        self.filled: Tensor

    @property
    def drawable(self) -> bool:
        return int(self.filled) > 0

    def forward(self, raw: Tensor, rng: Rng | None) -> Inferred:
        z = raw.float()
        rows = z.flatten(0, -2)
        if self.training:
            self._keep(rows.detach())
        variance, covariance, mean = _moments(rows)
        energy, config = self.penalty(z).mean(), self.config
        spread = config.variance * variance + config.covariance * covariance + config.mean * mean
        terms = {"latent/l1": z.abs().sum(-1).mean().detach(), "latent/variance": variance.detach()}
        return Inferred(z, energy + spread, terms)

    @torch.no_grad()
    def _keep(self, rows: Tensor) -> None:
        self.seen.copy_(torch.cat([rows, self.seen])[: len(self.seen)])
        self.filled.add_(len(rows)).clamp_(max=len(self.seen))

    def sample(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        if not self.drawable:
            raise UserError(
                "a sparse latent is drawn from those inferred in training, and there are none: train it"
            )
        return self.seen.cpu()[torch.randint(int(self.filled), shape, generator=generator)]

    def expected(self) -> Tensor:
        return self.seen.sum(0) / self.filled.clamp(min=1)

    def penalty(self, z: Tensor) -> Tensor:
        floor = F.relu(math.sqrt(self.width) - z.square().sum(-1))
        return self.config.l1 * z.abs().sum(-1) + self.config.floor * floor


def _moments(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Three statistics of the global batch `[R, Z]`: the hinge on every std at 1, the mean squares of covariances and
    means."""
    count, width = len(z) * world_size(), z.shape[1]
    mean = global_mean(z.mean(0))
    centred = z - mean.detach()
    moments = global_mean(centred.T @ centred / len(z)) * count / max(count - 1, 1)
    variance = moments.diagonal()
    off_diagonal = (moments.square().sum() - variance.square().sum()) / max(width * (width - 1), 1)
    return F.relu(1 - (variance + 1e-4).sqrt()).mean(), off_diagonal, mean.square().mean()


class Codes(Limit):
    """The nearest of K vectors, whose use is counted."""

    finite = True

    def __init__(self, config: Codebook, width: int) -> None:
        super().__init__()
        self.config, self.inputs = config, width
        self.codes = nn.Parameter(torch.randn(config.codes, width))
        self.register_buffer("use", torch.zeros(config.codes))
        self.use: Tensor

    def forward(self, raw: Tensor, rng: Rng | None) -> Inferred:
        raw = raw.float()
        if self.training and rng is not None:
            self._revive(raw.detach().flatten(0, -2), rng)
        index = self.nearest(raw)
        code = self.codes[index]
        if self.training:
            share = torch.bincount(index.flatten(), minlength=len(self.use)) / index.numel()
            self.use.lerp_(global_mean(share), 1 - self.config.decay)
        loss = F.mse_loss(code, raw.detach()) + self.config.commitment * F.mse_loss(raw, code.detach())
        entropy = torch.special.entr(self.log_probability().exp()).sum()
        return Inferred(
            raw + (code - raw).detach(), loss, {"latent/nats": entropy, "latent/vq": loss.detach()}
        )

    @torch.no_grad()
    def _revive(self, rows: Tensor, rng: Rng) -> None:
        count = len(self.use)
        dead = self.use < self.config.dead / count
        if not dead.any():
            return
        generator = rng.generator()
        row = torch.randint(len(rows), (count,), generator=generator).to(rows.device)
        owner = torch.randint(world_size(), (count, 1), generator=generator).to(rows.device)
        fresh = (
            global_mean(rows[row] * (owner == rank())) * world_size()
        )  # every process takes the same vectors
        self.codes.copy_(torch.where(dead[:, None], fresh, self.codes))
        self.use.copy_(torch.where(dead, 1 / count, self.use))

    def nearest(self, z: Tensor) -> Tensor:
        """Indices of the codes, `[...]`."""
        with torch.no_grad():
            return torch.cdist(z.flatten(0, -2), self.codes).argmin(-1).view(z.shape[:-1])

    def log_probability(self) -> Tensor:
        """Logarithm of each code's probability, by its use: `[K]`."""
        use = self.use + 1e-6
        return (use / use.sum()).log()

    def sample(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        draws = torch.multinomial(
            self.log_probability().exp().cpu(), math.prod(shape), replacement=True, generator=generator
        )
        return self.codes.detach()[draws.to(self.codes.device)].view(*shape, -1)

    def expected(self) -> Tensor:
        return self.log_probability().exp() @ self.codes.detach()

    def penalty(self, z: Tensor) -> Tensor:
        return -self.log_probability()[self.nearest(z)]

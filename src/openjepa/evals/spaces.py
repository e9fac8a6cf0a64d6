"""The spaces that probes work in: learned from features alone, without labels, and then applied to any."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

NEIGHBOUR_DIMS = (
    1536  # above, neighbours are sought among principal components: the cost is samples x queries x dims
)
COMPONENTS = 768
"""Principal components in the place of wider features."""
WHITENED = 384
"""Principal components in whose whitened space neighbours are sought."""
SAMPLED = 6_000  # features that principal components are learned from, where they are wide


@dataclass(frozen=True)
class Standard:
    """Zero mean and unit variance per dimension; of several blocks of dimensions, each weighs the same in distances.

    Dimensions that are constant in what it was learned from become zero.
    """

    mean: Tensor
    factor: Tensor

    @classmethod
    def of(cls, features: Tensor, blocks: Sequence[int] = ()) -> "Standard":
        """Learned from `[n, d]`; `blocks`: dimensions of features that are concatenated there."""
        variance, mean = torch.var_mean(features, 0, correction=0)
        scale = variance.sqrt()
        scale[scale <= 1e-6 * mean.abs().clamp_min(1e-6)] = torch.inf
        factor = scale.reciprocal()
        if len(blocks) > 1:
            even = sum(blocks) / len(blocks)
            factor = factor * torch.cat([factor.new_full((b,), (even / b) ** 0.5) for b in blocks])
        return cls(mean, factor)

    def __call__(self, features: Tensor) -> Tensor:
        return (features - self.mean).mul_(self.factor)

    def apply_(self, features: Tensor) -> Tensor:
        """In place, for what is large."""
        return features.sub_(self.mean).mul_(self.factor)


@dataclass(frozen=True)
class Components:
    """Principal components of standardised features."""

    mean: Tensor
    directions: Tensor
    """`[d, k]`, orthonormal."""
    power: Tensor
    """`[k]`: variance along each, falling."""

    @classmethod
    def of(cls, features: Tensor, most: int, seed: int = 0) -> "Components":
        """The leading ones of `[n, d]`, as many as it has and at most `most`.

        Exact by a d x d or an n x n problem where the smaller of these is small, else by randomised subspace iteration
        (Halko, Martinsson & Tropp 2011) on 6,000 of the rows.
        """
        mean = features.mean(0)
        n, d = features.shape
        if min(n, d) <= NEIGHBOUR_DIMS:
            centred = features - mean
            return cls(mean, *_exact(centred, most))
        random = torch.Generator().manual_seed(seed)
        rows = torch.randperm(n, generator=random)[:SAMPLED].sort().values.to(features.device)
        centred = features[rows] - mean
        start = torch.randn(d, most + 32, generator=random).to(features)
        basis = torch.linalg.qr(centred.T @ torch.linalg.qr(centred @ start)[0])[0]
        turn, power = _exact(centred @ basis, most)
        return cls(mean, basis @ turn, power)

    def project(self, features: Tensor) -> Tensor:
        """Coordinates `[n, k]`."""
        return (features - self.mean) @ self.directions

    def whiten(self, coordinates: Tensor, most: int = WHITENED) -> Tensor:
        """The leading coordinates with unit variance: correlated features then no longer count many times."""
        return coordinates[:, :most] * self.power[:most].rsqrt()


def _exact(centred: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Directions `[d, k]` and powers of `[n, d]`, by the smaller of the two Gram matrices."""
    n, d = centred.shape
    small = (centred.T @ centred if d <= n else centred @ centred.T) / n
    power, directions = torch.linalg.eigh(small.double())
    power, directions = power.flip(0), directions.flip(1)
    count = max(1, min(most, n - 1, int((power > 1e-6 * power[0]).sum())))
    power, directions = power[:count].clamp_min(1e-30), directions[:, :count]
    if d > n:
        directions = (centred.T.double() @ directions) * (n * power).rsqrt()
    return directions.float(), power.float()

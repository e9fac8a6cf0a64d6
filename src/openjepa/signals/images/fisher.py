"""Fisher vectors of dense local descriptors (Perronnin et al. 2010)."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

DIMS, COMPONENTS, ROUNDS = 40, 64, 10
"""Of a descriptor after its principal components; Gaussians; steps of expectation maximisation."""
PLACE = 7.0
"""Weight of a descriptor's place, in -0.5..0.5, beside its whitened components."""


def oriented(across: Tensor, down: Tensor, bins: int, signed: bool = False) -> Tensor:
    """`[B, bins, H, W]`: the lengths of vectors `[B, H, W]`, split between the two nearest of `bins` directions."""
    place = torch.atan2(down, across) * (bins / math.pi / (2 if signed else 1))
    length = torch.hypot(across, down)
    maps = []
    for direction in range(bins):
        away = (place - direction).remainder_(bins)
        maps.append(torch.minimum(away, bins - away).neg_().add_(1).clamp_min_(0).mul_(length))
    return torch.stack(maps, 1)


def gradient(values: Tensor) -> tuple[Tensor, Tensor]:
    """Across and down, of `[B, C, H, W]`."""
    padded = pad(values, (1, 1, 1, 1), mode="replicate")
    return padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2], padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]


def edge_maps(pixels: Tensor, bins: int = 9) -> Tensor:
    """`[B, bins, H, W]` of `[B, C, H, W]` in 0..1: at each pixel the channel with the strongest gradient counts."""
    across, down = gradient(pixels)
    channel = (across.square() + down.square()).argmax(1, keepdim=True)
    return oriented(across.gather(1, channel)[:, 0], down.gather(1, channel)[:, 0], bins)


def describe(maps: Tensor, cell: int, block: int) -> tuple[Tensor, Tensor]:
    """Descriptors `[B, n, d]` of blocks of `block` x `block` cells of maps `[B, bins, H, W]`, and places `[n, 2]`.

    Blocks lie a cell apart; each is brought to length 1, cut at 0.2 and brought to length 1 again.
    """
    cells = avg_pool2d(maps, cell)
    rows, columns = cells.shape[2:]
    sides = min(block, rows), min(block, columns)
    blocks = cells.unfold(2, sides[0], 1).unfold(3, sides[1], 1)
    count = blocks.shape[2:4]
    found = _to_length_one(_to_length_one(blocks.permute(0, 2, 3, 1, 4, 5).flatten(3)).clamp_max(0.2))
    axes = [
        (torch.arange(n) + side / 2) / total - 0.5
        for n, side, total in zip(count, sides, (rows, columns), strict=True)
    ]
    return found.flatten(1, 2), torch.cartesian_prod(*axes).view(-1, 2)


def _to_length_one(blocks: Tensor) -> Tensor:
    return blocks / (blocks.square().sum(-1, keepdim=True) + 1e-4).sqrt()


@dataclass(frozen=True)
class GaussianMixture:
    """Gaussians with diagonal covariances over whitened descriptors and their places.

    Attributes:
        mean, directions: `[d]` and `[d, DIMS]`, of the descriptors' whitening.
        centres, variances: `[K, DIMS + 2]`; weights: `[K]`.
    """

    mean: Tensor
    directions: Tensor
    centres: Tensor
    variances: Tensor
    weights: Tensor

    @classmethod
    def fit(cls, descriptors: Tensor, places: Tensor, seed: int) -> "GaussianMixture":
        """Of descriptors `[n, d]` at places `[n, 2]`."""
        mean = descriptors.mean(0)
        centred = descriptors - mean
        power, directions = torch.linalg.eigh((centred.T @ centred / len(centred)).double())
        kept = min(DIMS, descriptors.shape[1])
        directions = (directions[:, -kept:] / power[-kept:].clamp_min(1e-8).sqrt()).float()
        points = torch.cat([centred @ directions, places * PLACE], 1)
        count = max(1, min(COMPONENTS, len(points) // 8))
        first = np.random.default_rng([seed, 8]).permutation(len(points))[:count]
        centres, spread = points[torch.from_numpy(first)], points.var(0).clamp_min(1e-6)
        variances, weights = spread.expand(count, -1), points.new_full((count,), 1 / count)
        for _ in range(ROUNDS):
            share = _shares(points, centres, variances, weights)
            total = share.sum(0) + 1e-3
            centres = share.T @ points / total[:, None]
            variances = share.T @ points.square() / total[:, None] - centres.square()
            variances, weights = torch.maximum(variances, 1e-3 * spread), total / total.sum()
        return cls(mean, directions, centres, variances, weights)

    @property
    def dims(self) -> int:
        """Numbers in a Fisher vector."""
        return 2 * self.centres.numel()

    def encode(self, descriptors: Tensor, places: Tensor) -> Tensor:
        """The Fisher vector `[dims]` of a sample's descriptors `[n, d]` at places `[n, 2]`.

        How its likelihood would change with the means and the spreads; signed square roots, brought to length 1.
        """
        points = torch.cat([(descriptors - self.mean) @ self.directions, places * PLACE], 1)
        share = _shares(points, self.centres, self.variances, self.weights)
        total, first, second = share.sum(0)[:, None], share.T @ points, share.T @ points.square()
        means = (first - total * self.centres) / self.variances.sqrt()
        spreads = (second - 2 * first * self.centres + total * self.centres.square()) / self.variances - total
        weight = self.weights.sqrt()[:, None] * len(points)
        vector = torch.cat([(means / weight).flatten(), (spreads / (weight * 2**0.5)).flatten()])
        vector = vector.sign() * vector.abs().sqrt()
        return vector / vector.norm().clamp_min(1e-9)


def _shares(points: Tensor, centres: Tensor, variances: Tensor, weights: Tensor) -> Tensor:
    """How far each Gaussian answers for each point, `[n, K]`."""
    precision = 1 / variances
    distance = points.square() @ precision.T - 2 * points @ (centres * precision).T
    distance = distance + (centres.square() * precision).sum(1)
    return (weights.log() - 0.5 * (distance + variances.log().sum(1))).softmax(1)

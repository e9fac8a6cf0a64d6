"""What a user can have of clouds without training: occupancy, shape distributions, curvature, a random PointNet."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from openjepa.signals.classical import FixedFeatures, of_level
from openjepa.signals.points.groups import farthest, neighbours

CELLS, BINS, PAIRS = 8, 64, 4096
"""A side of the grid of cells, bins of a histogram, and draws of points that it counts."""
CURVED, NEAR = 256, 16
"""Points at which curvature is taken, and neighbours of each."""
ANCHORS, REACH = 512, 0.1
"""Fixed points of space to which a cloud is near or far, and the width over which its density is taken."""
SCALES = (2.0, 5.0)
"""Of the first weights of the random PointNets on offer."""


def classical(level: str = "all") -> list[Any]:
    """The features of that `Level`, cheapest first: `quick` are occupancy and shape distributions.

    Raises:
        UserError: no such level.
    """
    return of_level(level, [Occupancy(), ShapeDistributions()], [Curvature(), Anchors(), RandomPointNet()])


def _fixed(
    name: str, functions: Mapping[str, Callable[[Tensor], Tensor]], dims: dict[str, int], batch_size: int = 64
) -> FixedFeatures:
    """Functions of points `[B, P, 3]`."""
    return FixedFeatures(name, functions, dims, lambda batch: (batch.points,), batch_size)


class Occupancy:
    """Shares of the points in the cells of a grid, and their roots."""

    name = "occupancy"

    def fit(self, samples: Any, **options: object) -> FixedFeatures:
        """Nothing is learned."""
        functions = {
            "roots": lambda points: occupancy(points, CELLS).sqrt(),
            "shares": lambda points: occupancy(points, CELLS),
        }
        return _fixed(self.name, functions, dict.fromkeys(functions, CELLS**3))


def occupancy(points: Tensor, side: int) -> Tensor:
    """`[B, P, 3]` within 1 of the middle to shares `[B, side ** 3]`."""
    cell = ((points + 1) / 2 * side).long().clamp(0, side - 1)
    number = (cell[..., 0] * side + cell[..., 1]) * side + cell[..., 2]
    found = points.new_zeros(len(points), side**3)
    return found.scatter_add_(1, number, torch.full_like(points[..., 0], 1 / points.shape[1]))


class ShapeDistributions:
    """Histograms of distances, angles, areas and volumes of random points of a cloud (Osada et al. 2002), and sizes."""

    name = "shape distributions"

    def fit(self, samples: Any, *, seed: int = 0, **options: object) -> FixedFeatures:
        """Nothing is learned; which points are drawn is the same for all clouds."""
        drawn = np.random.default_rng([seed, 4]).integers(samples.shape[0], size=(4, PAIRS))
        which = torch.from_numpy(drawn)
        return _fixed(self.name, {"all": lambda x: distributions(x, which)}, {"all": 5 * BINS + 9})


def distributions(points: Tensor, which: Tensor) -> Tensor:
    """`[B, P, 3]` and indices `[4, n]` of points to `[B, 5 * 64 + 9]`."""
    a, b, c, d = (points[:, index] for index in which)
    ab, ac, ad = b - a, c - a, d - a
    length = ab.norm(dim=-1)
    cross = torch.linalg.cross(ab, ac)
    area = cross.norm(dim=-1)
    cosine = (ab * ac).sum(-1) / (length * ac.norm(dim=-1)).clamp_min(1e-9)
    volume = (cross * ad).sum(-1).abs()
    found = [
        _histogram(length / 2),
        _histogram(cosine.clamp(-1, 1).arccos() / math.pi),
        _histogram((area / 2 / 1.3).sqrt()),
        _histogram((volume / 6).pow(1 / 3)),
        _histogram(points.norm(dim=-1)),
    ]
    spread = torch.linalg.eigvalsh(points.mT @ points / points.shape[1]).clamp_min(0).sqrt()
    low, high = points.amin(1), points.amax(1)
    return torch.cat([*found, spread, low, high], 1)


def _histogram(values: Tensor) -> Tensor:
    """Roots of the shares of values in 0..1, `[B, n] -> [B, 64]`."""
    bins = (values * BINS).long().clamp(0, BINS - 1)
    found = values.new_zeros(len(values), BINS)
    return found.scatter_add_(1, bins, torch.full_like(values, 1 / values.shape[1])).sqrt()


class Curvature:
    """How linear, planar and round a cloud is about its points, which way it faces there, and how high."""

    name = "local eigenvalues"

    def fit(self, samples: Any, **options: object) -> FixedFeatures:
        """Nothing is learned."""
        return _fixed(self.name, {"all": curvature}, {"all": 4 * 32 + 2 * 8 * 8})


def curvature(points: Tensor) -> Tensor:
    """`[B, P, 3] -> [B, 256]`: histograms of eigenvalue ratios and of the normal's slope, also against the height."""
    count = min(CURVED, points.shape[1])
    centres = points[:, :count]
    near = neighbours(points, centres, min(NEAR, points.shape[1]))
    rows = torch.arange(len(points)).view(-1, 1, 1)
    groups = points[rows, near]
    groups = groups - groups.mean(2, keepdim=True)
    power, axes = torch.linalg.eigh(groups.mT @ groups / groups.shape[2])
    third, second, first = (power.clamp_min(0) + 1e-9).sqrt().unbind(-1)
    upright, height = axes[..., 2, 0].abs(), (centres[..., 2] + 1) / 2
    ratios = [(first - second) / first, (second - third) / first, third / first, upright]
    found = [_shares(ratio, 32) for ratio in ratios]
    found += [_shares((_cell(part) + _cell(height) * 8) / 64 + 1e-4, 64) for part in (upright, ratios[1])]
    return torch.cat(found, 1)


def _cell(values: Tensor) -> Tensor:
    return (values * 8).long().clamp(0, 7)


def _shares(values: Tensor, bins: int) -> Tensor:
    number = (values * bins).long().clamp(0, bins - 1)
    found = values.new_zeros(len(values), bins)
    return found.scatter_add_(1, number, torch.full_like(values, 1 / values.shape[1])).sqrt()


class Anchors:
    """Least distance of a cloud to each of 512 places in which clouds lie, and its density there."""

    name = "anchor distances"

    def fit(self, samples: Any, *, seed: int = 0, **options: object) -> FixedFeatures:
        """The places are spread over the points of up to 256 clouds."""
        rows = np.sort(np.random.default_rng([seed, 5]).permutation(len(samples))[:256])
        among = samples.read(rows).points[:, :64].flatten(0, 1)[None]
        anchors = among[0, farthest(among, min(ANCHORS, among.shape[1]))[0]]
        dims = {"distances": len(anchors), "distances and densities": 2 * len(anchors)}
        functions = {
            "distances": lambda points: _to_anchors(points, anchors)[0],
            "distances and densities": lambda points: torch.cat(_to_anchors(points, anchors), 1),
        }
        return _fixed(self.name, functions, dims, batch_size=32)


def _to_anchors(points: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
    away = torch.cdist(anchors, points)
    return away.amin(2), (-(away / REACH).square() / 2).exp().mean(2).sqrt()


class RandomPointNet:
    """Maxima over a cloud's points of a random network of two layers, 3-128-512."""

    name = "random PointNet"

    def fit(self, samples: Any, *, seed: int = 0, **options: object) -> FixedFeatures:
        """Weights are drawn by the seed."""
        random = torch.Generator().manual_seed(seed)
        functions = {f"scale {scale:g}": _network(scale, random) for scale in SCALES}
        return _fixed(self.name, functions, dict.fromkeys(functions, 512))


def _network(scale: float, random: torch.Generator) -> Callable[[Tensor], Tensor]:
    first, second = nn.Linear(3, 128), nn.Linear(128, 512)
    with torch.no_grad():
        first.weight.copy_(torch.randn(128, 3, generator=random) * scale / math.sqrt(3))
        first.bias.copy_((torch.rand(128, generator=random) * 2 - 1) * scale / 2)
        second.weight.copy_(torch.randn(512, 128, generator=random) * math.sqrt(2 / 128))
        second.bias.zero_()

    def features(points: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.relu(second(torch.relu(first(points)))).amax(1)

    return features

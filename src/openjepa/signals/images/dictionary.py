"""Features from a k-means dictionary of image patches (Coates, Lee & Ng 2011; Coates & Ng 2012)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, unfold

from openjepa.signals.classical import Rows

SIDE = 32  # larger images are averaged down to this side: patches of 6 px then cover what they do on CIFAR
PATCH = 6
SAMPLES = 100_000  # patches that the dictionary is fitted on
ROUNDS = 12  # of k-means; more change the scores by less than the seed does
CONTRAST = 10 / 255**2  # added to a patch's variance, pixels in 0..1
WHITENING = 0.1  # added to the eigenvalues of normalised patches
RATE = 12e9
"""Multiplications and additions a CPU second, that a bound on minutes is turned into work with.

Counted work decides, not the clock, so that a dictionary is the same on every machine and at every load.
"""


class PixelSamples(Protocol):
    """What the features need of a set of images."""

    shape: tuple[int, int, int]

    def __len__(self) -> int: ...
    def read(self, indices: Sequence[int] | Rows) -> Tensor: ...


Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Size:
    """One dictionary: how many centroids, and the step in pixels from patch to patch."""

    centroids: int
    step: int


SIZES = (Size(400, 1), Size(1600, 2))
"""The dictionaries on offer; the second would take four times the first one's time at a step of 1."""


class PatchDictionary:
    """Classical features: distances of all patches of an image to centroids, summed over its quarters.

    Patches are brought to one brightness and contrast and ZCA-whitened. A patch's code is how much nearer each
    centroid is than the mean centroid is, and 0 where it is farther ("triangle"). The dictionary is fitted on
    unlabelled images.

    Args:
        sizes: the dictionaries; each is one pooling.
        minutes: an upper bound on the CPU minutes of fitting, and of encoding `total` images: where a dictionary
            would take more its patches are taken in larger steps, and then it has fewer centroids.
    """

    name = "k-means patches"

    def __init__(self, sizes: Sequence[Size] = SIZES, minutes: float = 20.0) -> None:
        self.sizes, self.minutes = tuple(sizes), minutes

    def fit(
        self,
        images: PixelSamples,
        *,
        total: int | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> "Coded":
        """The dictionaries of `images`, for encoding `total` images (default: as many as there are)."""
        channels, height, width = images.shape
        scale = min(1.0, SIDE / max(height, width))
        size = max(1, round(height * scale)), max(1, round(width * scale))
        patch = min(PATCH, *size)
        rng = np.random.default_rng([seed, 6])
        planned = fitting(self.sizes, size, channels * patch**2, total or len(images), self.minutes)
        x = _sample(images, size, patch, rng)
        mean = x.mean(0)
        power, directions = torch.linalg.eigh(((x - mean).T @ (x - mean) / len(x)).double())
        whiten = ((directions / (power.clamp_min(0) + WHITENING).sqrt()) @ directions.T).float()
        x = (x - mean) @ whiten
        dictionaries = []
        for i, (wanted, rounds) in enumerate(planned):
            told = (lambda done, all_: progress(self.name, done, all_)) if progress else None
            centroids = kmeans(x, min(wanted.centroids, max(1, len(x) // 4)), rounds, [seed, 7, i], told)
            dictionaries.append((centroids, wanted.step))
        notes = [
            f"{self.name}: {got.centroids:,} centroids at every {got.step} pixels instead of "
            f"{asked.centroids:,} at every {asked.step}, to stay within {self.minutes:g} CPU minutes."
            for asked, (got, _) in zip(self.sizes, planned, strict=True)
            if got != asked
        ]
        return Coded(self.name, size, patch, mean, whiten, dictionaries, notes)


class Coded:
    """Images as codes of dictionaries; a `FeatureSource` of features."""

    def __init__(
        self,
        name: str,
        size: tuple[int, int],
        patch: int,
        mean: Tensor,
        whiten: Tensor,
        dictionaries: list[tuple[Tensor, int]],
        notes: list[str],
    ) -> None:
        self.name, self.size, self.patch, self.notes = name, size, patch, notes
        self.whiten = whiten - whiten.mean(0)  # [D, D]: takes the patch's own mean off, too
        self.shift = mean @ whiten
        rows, columns = _positions(size, patch, 1)
        quarters = min(2, rows) * min(2, columns)
        self.dictionaries = {f"{len(c)} centroids": (c, step) for c, step in dictionaries}
        self.poolings = {name: quarters * len(c) for name, (c, _) in self.dictionaries.items()}
        self.default = next(iter(self.poolings))

    def stream(
        self, images: PixelSamples, rows: Rows, names: Sequence[str]
    ) -> Iterator[tuple[Rows, dict[str, Tensor]]]:
        """Batches of float32 `[b, quarters * centroids]` by name."""
        for start in range(0, len(rows), 256):
            part = rows[start : start + 256]
            pixels = shrink(images.read(part), self.size)
            yield part, {name: self._codes(pixels, *self.dictionaries[name]) for name in names}

    def _codes(self, pixels: Tensor, centroids: Tensor, step: int) -> Tensor:
        """`[b, quarters * centroids]`, image by image: what is in work then stays in the processor's cache."""
        rows, columns = _positions(self.size, self.patch, step)
        pool = _quarters(rows, columns)  # [quarters, n]
        turned, own = centroids.T.contiguous(), centroids.square().sum(1)
        contrast = self._contrast(pixels, step)
        out = []
        for image, scale in zip(pixels, contrast, strict=True):
            white = unfold(image, self.patch, stride=step).T @ self.whiten
            white.mul_(scale[:, None]).sub_(self.shift)  # [n, D]
            distance = torch.addmm(own, white, turned, alpha=-2)
            distance.add_(white.square().sum(1, keepdim=True)).clamp_min_(0).sqrt_()
            average = distance.mean(1, keepdim=True)
            nearer = torch.minimum(distance, average, out=distance)
            out.append((pool @ average - pool @ nearer).flatten())
        return torch.stack(out)

    def _contrast(self, pixels: Tensor, step: int) -> Tensor:
        """`[b, n]`: one over each patch's standard deviation."""
        mean, square = (
            avg_pool2d(values.mean(1, keepdim=True), self.patch, step).flatten(1)
            for values in (pixels, pixels.square())
        )
        return (square - mean.square()).clamp_min(0).add(CONTRAST).rsqrt()


def fitting(
    sizes: Sequence[Size], image: tuple[int, int], dims: int, total: int, minutes: float
) -> list[tuple[Size, int]]:
    """Dictionaries that fit into so many minutes of counted work, and rounds of k-means for each.

    A fifth of an equal share is for k-means, the rest for encoding `total` images.
    """
    patch = min(PATCH, *image)
    budget = 60 * minutes * RATE / len(sizes)
    planned = []
    for wanted in sizes:
        centroids, step = wanted.centroids, wanted.step

        def cost(centroids: int, step: int) -> float:
            rows, columns = _positions(image, patch, step)
            return 2.0 * total * rows * columns * (dims + 12) * centroids  # 12: the passes beside the product

        while cost(centroids, step) > 0.8 * budget and step < patch:
            step += 1
        while cost(centroids, step) > 0.8 * budget and centroids > 16:
            centroids //= 2
        rounds = int(0.2 * budget / (2.0 * SAMPLES * (dims + 12) * centroids))
        planned.append((Size(centroids, step), max(1, min(ROUNDS, rounds))))
    return planned


def kmeans(
    points: Tensor,
    count: int,
    rounds: int,
    seed: Sequence[int],
    told: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Centroids `[count, d]` of `[n, d]` by k-means from random points; one without points is drawn anew."""
    rng = np.random.default_rng(list(seed))
    centroids = points[torch.from_numpy(rng.permutation(len(points))[:count])]
    for done in range(rounds):
        sums, sizes = torch.zeros_like(centroids), points.new_zeros(count)
        lengths = centroids.square().sum(1)
        for part in points.split(2048):
            nearest = torch.addmm(lengths, part, centroids.T, alpha=-2).argmin(1)
            sums.index_add_(0, nearest, part)
            sizes.index_add_(0, nearest, torch.ones(len(part)))
        empty = torch.nonzero(sizes == 0)[:, 0]
        centroids = sums / sizes.clamp_min(1)[:, None]
        centroids[empty] = points[torch.from_numpy(rng.integers(len(points), size=len(empty)))]
        if told:
            told(done + 1, rounds)
    return centroids


def _sample(images: PixelSamples, size: tuple[int, int], patch: int, rng: np.random.Generator) -> Tensor:
    """Normalised patches `[n, C*p*p]` from random places of random images."""
    count = min(len(images), 10_000)
    rows = np.sort(rng.choice(len(images), count, replace=False))
    places = int(np.prod(_positions(size, patch, 1)))
    each = min(places, -(-SAMPLES // count))
    found = []
    for start in range(0, count, 256):
        cut = unfold(shrink(images.read(rows[start : start + 256]), size), patch)
        where = torch.from_numpy(rng.random((len(cut), places)).argsort(1)[:, :each])
        found.append(cut.gather(2, where[:, None].expand(-1, cut.shape[1], -1)).transpose(1, 2).flatten(0, 1))
    return _even(torch.cat(found)[:SAMPLES], 1)


def _even(patches: Tensor, dim: int) -> Tensor:
    """One brightness and contrast: less the mean, divided by the standard deviation."""
    variance, mean = torch.var_mean(patches, dim, correction=0, keepdim=True)
    return (patches - mean) / (variance + CONTRAST).sqrt()


def shrink(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 or float in 0..1 as float in 0..1, averaged down to `size`."""
    values = pixels.float() if pixels.is_floating_point() else pixels.float() / 255
    return values if values.shape[2:] == size else adaptive_avg_pool2d(values, size)


def _positions(size: tuple[int, int], patch: int, step: int) -> tuple[int, int]:
    return (size[0] - patch) // step + 1, (size[1] - patch) // step + 1


def _quarters(rows: int, columns: int) -> Tensor:
    """`[quarters, rows * columns]`: means over each quarter's positions."""
    places = torch.eye(rows * columns).view(-1, 1, rows, columns)
    return adaptive_avg_pool2d(places, (min(2, rows), min(2, columns))).flatten(1).T.contiguous()

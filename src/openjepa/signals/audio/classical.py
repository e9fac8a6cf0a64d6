"""What a user can have of sound without training: statistics of log-mels and cepstra, k-means codes, MiniRocket."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from openjepa.signals.audio.tasks import coarse, statistics
from openjepa.signals.classical import FixedFeatures, Rows, of_level
from openjepa.signals.images.dictionary import kmeans
from openjepa.signals.series.minirocket import fit_kernels

Spectrograms = Callable[[Any], Tensor]
Function = Callable[[Tensor, Tensor], Tensor]
"""Of log-mels `[B, bands, T]` and which frames are there, `[B, T]`, to `[B, dims]`."""

SEGMENTS = 8
"""Parts of a clip's own time whose means are features."""
CEPSTRA = 13
STRETCHED = 48
"""Frames that MiniRocket's cepstra are brought to, whatever a clip's length."""
KERNELS = 5000
"""Of MiniRocket, about."""
FITTED = 512
"""Clips that codes and kernels are fitted on, at most."""
FRAMES, SAMPLED, DIRECTIONS, CODES, ROUNDS = 8, 40, 48, 400, 12
"""Frames of a patch, patches of a clip, their principal components, centroids, rounds of k-means."""


def classical(spectrograms: Spectrograms, level: str = "all") -> list[Any]:
    """The features of that `Level`, cheapest first: `quick` are statistics.

    Args:
        spectrograms: gives log-mels `[B, bands, T]` of a batch.

    Raises:
        UserError: no such level.
    """
    quick = [LogMelStatistics(spectrograms), CepstralStatistics(spectrograms)]
    return of_level(level, quick, [SoundCodes(spectrograms), SoundRocket(spectrograms)])


def _fixed(
    name: str, spectrograms: Spectrograms, functions: dict[str, Function], dims: dict[str, int]
) -> FixedFeatures:
    """Functions of log-mels and of what is there."""
    return FixedFeatures(
        name, functions, dims, lambda batch: (spectrograms(batch), batch.valid), batch_size=128
    )


@dataclass(frozen=True)
class LogMelStatistics:
    """Mean, spread and change of each band, or its means over eight parts of the clip's own time."""

    spectrograms: Spectrograms

    name = "log-mel statistics"

    def fit(self, samples: Any, **options: object) -> FixedFeatures:
        """Nothing is learned."""
        bands = samples.shape[0]
        functions: dict[str, Function] = {"statistics": statistics, f"{SEGMENTS} segments": segments}
        dims = dict(zip(functions, (3 * bands, SEGMENTS * bands), strict=True))
        return _fixed(self.name, self.spectrograms, functions, dims)


@dataclass(frozen=True)
class CepstralStatistics:
    """Mean, spread and change of 13 mel-frequency cepstral coefficients and of their first and second differences; or
    means over eight parts of the clip's own time, less the mean of all."""

    spectrograms: Spectrograms

    name = "MFCC statistics"

    def fit(self, samples: Any, **options: object) -> FixedFeatures:
        """Nothing is learned."""
        functions: dict[str, Function] = {
            "statistics": cepstral_statistics,
            f"{SEGMENTS} segments": cepstral_segments,
        }
        dims = dict(zip(functions, (3 * 3 * CEPSTRA, SEGMENTS * CEPSTRA), strict=True))
        return _fixed(self.name, self.spectrograms, functions, dims)


@dataclass(frozen=True)
class SoundCodes:
    """How near patches of a clip, all bands of a few frames, are to each of 400 centroids: mean and maximum."""

    spectrograms: Spectrograms

    name = "k-means codes"

    def fit(self, samples: Any, *, seed: int = 0, **options: object) -> FixedFeatures:
        """Centroids are those of whitened patches of up to 512 clips."""
        random = np.random.default_rng([seed, 5])
        found = []
        for part in _parts(_some(len(samples), random)):
            batch = samples.read(part)
            patches, there = _patches(self.spectrograms(batch), batch.valid)
            for clip, whole in zip(patches, there, strict=True):
                own = clip[whole]
                found.append(own[torch.from_numpy(random.permutation(len(own))[:SAMPLED])])
        points = torch.cat(found)
        mean = points.mean(0)
        power, directions = torch.linalg.eigh(((points - mean).T @ (points - mean) / len(points)).double())
        kept = min(DIRECTIONS, len(power))
        whiten = (directions[:, -kept:] / (power[-kept:] + 0.01 * power[-1]).sqrt()).float()
        white = (points - mean) @ whiten
        centroids = kmeans(white, min(CODES, len(white)), ROUNDS, [seed, 6])

        def codes(mels: Tensor, valid: Tensor) -> Tensor:
            patches, there = _patches(mels, valid)
            distance = torch.cdist((patches - mean) @ whiten, centroids)
            near = (distance.mean(-1, keepdim=True) - distance).clamp_min(0)
            near = torch.where(there[..., None], near, 0)
            return torch.cat([near.sum(1) / there.sum(1, keepdim=True), near.amax(1)], 1)

        return _fixed(self.name, self.spectrograms, {"codes": codes}, {"codes": 2 * len(centroids)})


@dataclass(frozen=True)
class SoundRocket:
    """MiniRocket on 13 cepstral coefficients, less their mean and brought to 48 frames; or on log-mels as they are."""

    spectrograms: Spectrograms

    name = "MiniRocket"

    def fit(self, samples: Any, *, seed: int = 0, **options: object) -> FixedFeatures:
        """Biases are quantiles of the outputs for up to 512 clips."""
        random = np.random.default_rng([seed, 7])
        batches = [samples.read(part) for part in _parts(_some(len(samples), random))]
        mels = torch.cat([self.spectrograms(batch) for batch in batches])
        valid = torch.cat([batch.valid for batch in batches])
        mean, spread = mels.transpose(1, 2)[valid].mean(0), mels.transpose(1, 2)[valid].std(0).clamp_min(1e-3)
        stretched = stretched_cepstra(mels, valid)
        scale = stretched.std((0, 2), keepdim=True).clamp_min(1e-3)

        def scaled(mels: Tensor) -> Tensor:
            return (mels - mean[:, None]) / spread[:, None]

        of_cepstra = fit_kernels(stretched / scale, None, KERNELS, random)
        of_mels = fit_kernels(scaled(mels), _each(mels, valid), KERNELS, random)
        functions: dict[str, Function] = {
            "MFCC, stretched": lambda mels, valid: of_cepstra(stretched_cepstra(mels, valid) / scale),
            "log-mel": lambda mels, valid: of_mels(scaled(mels), _each(mels, valid)),
        }
        return _fixed(
            self.name,
            self.spectrograms,
            functions,
            dict(zip(functions, (of_cepstra.count, of_mels.count), strict=True)),
        )


def segments(mels: Tensor, valid: Tensor) -> Tensor:
    """`[B, bands * 8]`."""
    return coarse(mels, valid, mels.shape[1], SEGMENTS)


def cepstra(mels: Tensor) -> Tensor:
    """`[B, 13, T]`: the cosine transform of log-mels over the bands, orthonormal."""
    bands = mels.shape[1]
    number, place = (
        torch.arange(CEPSTRA, device=mels.device)[:, None],
        torch.arange(bands, device=mels.device) + 0.5,
    )
    basis = torch.cos(math.pi * number * place / bands) * math.sqrt(2 / bands)
    basis[0] /= math.sqrt(2)
    return basis.to(mels.dtype) @ mels


def cepstral_statistics(mels: Tensor, valid: Tensor) -> Tensor:
    """Statistics of the coefficients, of their slopes over five frames, and of the slopes' slopes: `[B, 9 * 13]`."""
    found, values = [], cepstra(mels)
    for _ in range(3):
        found.append(statistics(values, valid))
        values = _slopes(values)
    return torch.cat(found, 1)


def cepstral_segments(mels: Tensor, valid: Tensor) -> Tensor:
    """`[B, 13 * 8]`, with the mean of each coefficient taken off."""
    parts = coarse(cepstra(mels), valid, CEPSTRA, SEGMENTS).unflatten(1, (CEPSTRA, SEGMENTS))
    return (parts - parts.mean(2, keepdim=True)).flatten(1)


def stretched_cepstra(mels: Tensor, valid: Tensor) -> Tensor:
    """`[B, 13, 48]`: less each coefficient's mean, what is there of a clip interpolated to 48 frames."""
    values, length = cepstra(mels), valid.sum(1).clamp_min(1)
    there = valid[:, None].to(values.dtype)
    values = values - (values * there).sum(-1, keepdim=True) / length[:, None, None]
    at = (torch.arange(STRETCHED, device=mels.device) + 0.5) / STRETCHED * length[:, None] - 0.5
    at = torch.minimum(at.clamp_min(0), length[:, None] - 1.0)
    low = at.floor().long()
    high = torch.minimum(low + 1, length[:, None] - 1)
    part = (at - low)[:, None].to(values.dtype)

    def frames(index: Tensor) -> Tensor:
        return values.gather(2, index[:, None].expand(-1, CEPSTRA, -1))

    return frames(low) * (1 - part) + frames(high) * part


def _slopes(values: Tensor) -> Tensor:
    """Regression slopes over five frames, ends repeated."""
    wide = pad(values, (2, 2), mode="replicate")
    return (2 * (wide[..., 4:] - wide[..., :-4]) + wide[..., 3:-1] - wide[..., 1:-3]) / 10


def _patches(mels: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """All bands of each few successive frames, `[B, n, bands * FRAMES]`, and which are there, `[B, n]`: never none."""
    frames = min(FRAMES, mels.shape[2])
    patches = mels.unfold(2, frames, 1).transpose(1, 2).flatten(2)
    there = valid.unfold(1, frames, 1).all(-1)
    there[:, 0] = True
    return patches, there


def _each(mels: Tensor, valid: Tensor) -> Tensor:
    return valid[:, None].expand_as(mels)


def _some(count: int, random: np.random.Generator) -> Rows:
    return np.sort(random.permutation(count)[:FITTED])


def _parts(rows: Rows) -> Iterator[Rows]:
    return (rows[start : start + 128] for start in range(0, len(rows), 128))

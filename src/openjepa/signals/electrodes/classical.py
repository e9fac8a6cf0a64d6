"""What a user can have of electrodes without training: slow voltages, power of frequencies, covariances of channels."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from openjepa.signals.classical import FixedFeatures, Rows, of_level
from openjepa.signals.electrodes.batch import Recordings

SLOW = 20.0
"""Means a second that tell of slow voltages."""
BINS = 33
"""Frequencies from 0 to half the rate at which the power is taken."""
EDGES = (1.0, 4.0, 8.0, 10.0, 13.0, 20.0, 30.0, 40.0)
"""Hz between the seven bands of the covariances: delta, theta, two of alpha, two of beta, gamma."""
SHRINK = 0.05
"""Share of the mean variance in each covariance's diagonal: a second of one band has few independent samples."""
FITTED = 2000
"""Windows from which the mean covariances are taken, at most."""
ROUNDS = 8
"""Of the geometric mean's iteration, which has then converged."""
LEAST = 1e-12


class WindowSamples(Protocol):
    """What the features need of a set of recordings."""

    shape: tuple[int, ...]

    def __len__(self) -> int: ...
    def read(self, indices: Sequence[int] | Rows) -> Recordings: ...


def classical(rate: float, level: str = "all") -> list[Any]:
    """The features of that `Level` for recordings at that rate, cheapest first: `all` adds both kinds side by side.

    Raises:
        UserError: no such level.
    """
    return of_level(level, [Voltages(rate), BandPower(rate), Tangent(rate)], [Both(rate)])


def _fixed(name: str, pooling: str, function: Callable[[Tensor], Tensor], dims: int) -> FixedFeatures:
    """One function of windows in microvolts."""
    return FixedFeatures(
        name, {pooling: function}, {pooling: dims}, lambda batch: (batch.values,), batch_size=512
    )


class Voltages:
    """Means of each channel over twentieths of a second (Blankertz et al. 2011): slow potentials, with their sign."""

    name = "mean voltages"

    def __init__(self, rate: float) -> None:
        self.step = max(1, round(rate / SLOW))

    def fit(self, images: WindowSamples, **options: object) -> FixedFeatures:
        """Nothing is learned."""
        step = min(self.step, images.shape[1])
        dims = images.shape[0] * (images.shape[1] // step)
        return _fixed(self.name, "means", lambda x: x.unfold(-1, step, step).mean(-1).flatten(1), dims)


class BandPower:
    """Logarithm of the power of each channel in 33 frequency bins (Welch's method)."""

    name = "log band power"

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def fit(self, images: WindowSamples, **options: object) -> FixedFeatures:
        """Nothing is learned."""
        return _fixed(self.name, "power", lambda x: log_power(x).flatten(1), images.shape[0] * BINS)


class Tangent:
    """Covariances of the channels in seven bands, in the tangent space at their mean (Barachant et al. 2012)."""

    name = "covariance, tangent space"

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def fit(self, images: WindowSamples, **options: object) -> FixedFeatures:
        """The mean covariance of each band, of up to 2,000 windows without their labels."""
        roots = self.references(images)
        return _fixed(self.name, "tangent", self._at(roots), self._dims(images))

    def references(self, images: WindowSamples) -> Tensor:
        """`[bands, C, C]`, the inverse roots of the mean covariances."""
        rows = np.unique(np.linspace(0, len(images) - 1, FITTED).astype(np.int64))
        found = torch.cat(
            [covariances(images.read(rows[i : i + 512]).values, self.rate) for i in range(0, len(rows), 512)]
        )
        return torch.stack([_power(geometric_mean(found[:, band]), -0.5) for band in range(found.shape[1])])

    def _at(self, roots: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda values: tangent(covariances(values, self.rate), roots)

    def _dims(self, images: WindowSamples) -> int:
        return len(bands(self.rate)) * images.shape[0] * (images.shape[0] + 1) // 2


class Both(Tangent):
    """Band power and covariances side by side: the strongest classical features of EEG that we know."""

    name = "band power and covariance"

    def fit(self, images: WindowSamples, **options: object) -> FixedFeatures:
        """See `Tangent`."""
        further = self._at(self.references(images))

        def both(values: Tensor) -> Tensor:
            return torch.cat([log_power(values).flatten(1), further(values)], 1)

        return _fixed(self.name, "both", both, images.shape[0] * BINS + self._dims(images))


def log_power(values: Tensor) -> Tensor:
    """`[B, C, S] -> [B, C, 33]`: natural logarithm of the mean power over Hann windows of 64 samples, half apart."""
    length = 2 * (BINS - 1)
    values = values.double()
    if values.shape[-1] < length:
        values = torch.nn.functional.pad(values, (0, length - values.shape[-1]))
    parts = values.unfold(-1, length, length // 2)
    parts = (parts - parts.mean(-1, keepdim=True)) * torch.hann_window(length, dtype=torch.float64)
    power = torch.fft.rfft(parts).abs().square().mean(-2)
    return (power + LEAST).log().float()


def bands(rate: float) -> list[tuple[float, float]]:
    """Those of the seven bands that lie below half the rate."""
    edges = [edge for edge in EDGES if edge < rate / 2]
    return list(itertools.pairwise(edges)) or [(0.0, rate / 2)]


def covariances(values: Tensor, rate: float) -> Tensor:
    """`[B, C, S] -> [B, bands, C, C]`, float64: of each band, a little shrunk towards the mean variance."""
    values = values.double()
    size = values.shape[-1]
    values = (values - values.mean(-1, keepdim=True)) * torch.hann_window(size, dtype=torch.float64)
    spectrum = torch.fft.rfft(values)
    frequency = torch.fft.rfftfreq(size, 1 / rate)
    found = []
    for low, high in bands(rate):
        inside = (frequency >= low) & (frequency < high)
        if not inside.any():
            inside = (frequency - (low + high) / 2).abs() == (frequency - (low + high) / 2).abs().min()
        part = spectrum[..., inside]
        found.append((part @ part.mH).real / size)
    cov = torch.stack(found, 1)
    channels = cov.shape[-1]
    level = cov.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None].clamp_min(LEAST)
    return (1 - SHRINK) * cov + SHRINK * level * torch.eye(channels, dtype=torch.float64)


def geometric_mean(matrices: Tensor) -> Tensor:
    """Of positive definite matrices `[N, C, C]`: the point whose distances to them, along the cone, are smallest."""
    mean = matrices.mean(0)
    for _ in range(ROUNDS):
        root, inverse = _power(mean, 0.5), _power(mean, -0.5)
        step = _log(inverse @ matrices @ inverse).mean(0)
        mean = root @ _exp(step) @ root
    return mean


def tangent(matrices: Tensor, roots: Tensor) -> Tensor:
    """`[B, bands, C, C] -> [B, bands * C (C + 1) / 2]`: logarithms as seen from the means, off-diagonals times √2."""
    logs = _log(roots @ matrices @ roots)
    channels = logs.shape[-1]
    row, column = torch.triu_indices(channels, channels)
    weight = torch.where(row == column, 1.0, math.sqrt(2)).double()
    return (logs[..., row, column] * weight).flatten(1).float()


def _power(matrix: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp_min(LEAST).pow(exponent).unsqueeze(-2)) @ vectors.mT


def _log(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp_min(LEAST).log().unsqueeze(-2)) @ vectors.mT


def _exp(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.exp().unsqueeze(-2)) @ vectors.mT

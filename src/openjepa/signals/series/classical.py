"""What a user can have of series without training: their values, statistics, and random convolutions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d

from openjepa.signals.classical import FixedFeatures, of_level
from openjepa.signals.series.batch import SeriesBatch
from openjepa.signals.series.minirocket import RandomConvolutions, fit_kernels

Standardised = Callable[[SeriesBatch], Tensor]

WIDEST = 8192
"""Values of a series that are features as they are; of more, means of so many stretches."""
BINS, LAGS, SHARES = 32, 12, (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
"""Frequency bins, autocorrelations and quantiles among the statistics."""
FITTED = 512
"""Series from which the biases of random convolutions are taken, at most."""
LEAST = 1e-8


def classical(standardised: Standardised, level: str = "all") -> list[Any]:
    """The features of that `Level`, cheapest first: `quick` are values and statistics.

    Raises:
        UserError: no such level.
    """
    quick = [RawSeries(standardised), SeriesStatistics(standardised)]
    return of_level(level, quick, [MiniRocket(standardised)])


def _fixed(
    name: str,
    standardised: Standardised,
    functions: Mapping[str, Callable[[Tensor, Tensor | None], Tensor]],
    dims: dict[str, int],
    batch_size: int = 256,
) -> FixedFeatures:
    """Functions of standardised values and what is valid."""
    return FixedFeatures(name, functions, dims, lambda batch: (standardised(batch), batch.valid), batch_size)


@dataclass(frozen=True)
class RawSeries:
    """The values themselves, as they are and less the last of each channel."""

    standardised: Standardised

    name = "raw series"

    def fit(self, samples: Any, **options: object) -> FixedFeatures:
        """Nothing is learned."""
        channels, steps = samples.shape
        dims = channels * min(steps, max(1, WIDEST // channels))
        functions = {
            "values": lambda values, valid: _flat(values, dims // channels),
            "less the last": lambda values, valid: _flat(values - values[..., -1:], dims // channels),
        }
        return _fixed(self.name, self.standardised, functions, dict.fromkeys(functions, dims))


def _flat(values: Tensor, steps: int) -> Tensor:
    return (values if values.shape[-1] == steps else adaptive_avg_pool1d(values, steps)).flatten(1)


@dataclass(frozen=True)
class SeriesStatistics:
    """Quantiles, spread, slope, roughness, autocorrelations and the power spectrum of each channel."""

    standardised: Standardised

    name = "statistics"

    def fit(self, samples: Any, **options: object) -> FixedFeatures:
        """Nothing is learned."""
        dims = samples.shape[0] * (len(SHARES) + 5 + LAGS + BINS)
        return _fixed(self.name, self.standardised, {"statistics": statistics}, {"statistics": dims})


def statistics(values: Tensor, valid: Tensor | None = None) -> Tensor:
    """`[B, C, T] -> [B, C * 56]`, of what is valid; what is not counts as the mean where order matters."""
    x = values.double()
    there = torch.ones_like(x) if valid is None else valid.double()
    count = there.sum(-1, keepdim=True).clamp_min(1)
    mean = (x * there).sum(-1, keepdim=True) / count
    centred = (x - mean) * there
    variance = (centred.square().sum(-1, keepdim=True) / count).clamp_min(LEAST)
    among = x.masked_fill(there == 0, torch.nan)
    quantiles = torch.nan_to_num(among.nanquantile(x.new_tensor(SHARES), -1).movedim(0, -1))
    steps = torch.linspace(-1, 1, x.shape[-1], dtype=x.dtype, device=x.device)
    slope = (centred * steps).mean(-1, keepdim=True)
    rough = centred.diff(dim=-1).square().mean(-1, keepdim=True) / variance
    scaled = centred / variance.sqrt()
    lags = []
    for lag in range(1, LAGS + 1):
        far = min(lag, x.shape[-1] - 1)
        lags.append((scaled[..., far:] * scaled[..., : x.shape[-1] - far]).sum(-1) / count[..., 0])
    spectrum = torch.fft.rfft(scaled).abs().square()[..., 1:] / count
    power = (
        (adaptive_avg_pool1d(spectrum, BINS) + LEAST).log()
        if spectrum.shape[-1]
        else x.new_zeros(*x.shape[:2], BINS)
    )
    length = count / x.shape[-1]
    found = [quantiles, mean, variance.log(), slope, rough, length, torch.stack(lags, -1), power]
    return torch.cat(found, -1).flatten(1).float()


def parts_of(values: Tensor, count: int) -> Tensor:
    """Means and logarithms of the deviations of `count` stretches, `[B, C, T] -> [B, 2 * C * count]`."""
    count = min(count, values.shape[-1])
    mean = adaptive_avg_pool1d(values, count)
    square = adaptive_avg_pool1d(values.square(), count)
    return torch.cat([mean, ((square - mean.square()).clamp_min(0) + 1e-4).log() / 2], -1).flatten(1)


@dataclass(frozen=True)
class MiniRocket:
    """Shares of positive outputs of dilated convolutions, biases taken from series (Dempster et al., KDD 2021)."""

    standardised: Standardised
    count: int = 10_000

    name = "MiniRocket"

    def fit(self, samples: Any, *, seed: int = 0, **options: object) -> FixedFeatures:
        """Biases are quantiles of the outputs for up to 512 series."""
        random = np.random.default_rng([seed, 3])
        rows = np.sort(random.permutation(len(samples))[:FITTED])
        batch = samples.read(rows)
        kernels: RandomConvolutions = fit_kernels(self.standardised(batch), batch.valid, self.count, random)
        return _fixed(
            self.name, self.standardised, {"shares": kernels}, {"shares": kernels.count}, batch_size=64
        )

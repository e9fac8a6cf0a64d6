"""Alignment: each person's recordings are brought to one covariance and one spectrum, by that person's data alone.

People differ more than what they do: in skull and cap, in how strong each electrode is, in how fast their rhythms are.
No label is needed to take this out (He & Wu 2020, arXiv:1808.05464).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from openjepa.signals.electrodes.recording import Prepared, Values

Alignment = Literal["none", "covariance", "spectrum"]
Band = tuple[float, float] | None

SPREAD = 10.0
"""Microvolts of standard deviation that every electrode has afterwards."""
SHRINK = 1e-2
"""Share of the mean variance in a covariance's diagonal: re-referenced electrodes are not independent."""
BURST = 10.0
"""Values beyond so many times a channel's median size do not count."""
LENGTH = 256
"""Samples of the windows of a spectrum, at most."""
FLOOR = 1e-3
"""Share of a spectrum's mean below which nothing is made stronger."""


def aligned(
    recordings: Sequence[Prepared], how: Alignment, rate: float, band: Band, grouped: bool = True
) -> list[Prepared]:
    """The recordings, each brought to what all people share.

    Args:
        how: `covariance`: electrodes have equal spread and are uncorrelated over all of a person's recordings together,
            each as near as can be to what it was; `spectrum`: besides, each is equally strong at all frequencies of
            the band.
        rate: samples a second.
        band: lowest and highest frequency in Hz that are kept; `None`: all.
        grouped: whether recordings of which nobody says who was recorded are of a person each; else all are of one.
    """
    if how == "none":
        return list(recordings)
    people: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for i, recording in enumerate(recordings):
        person = recording.subject or (recording.name if grouped else "")
        people.setdefault((person, recording.channels), []).append(i)
    found = list(recordings)
    for rows in people.values():
        pieces = [values for i in rows for _, values in recordings[i].pieces]
        new = iter(_flattened(_whitened(pieces), rate, band) if how == "spectrum" else _whitened(pieces))
        for i in rows:
            starts = [start for start, _ in recordings[i].pieces]
            found[i] = replace(recordings[i], pieces=[(start, next(new)) for start in starts])
    return found


def _whitened(pieces: Sequence[Values]) -> list[Values]:
    """Pieces `[C, S]` of one person with unit covariance, times `SPREAD`."""
    whole = np.concatenate(pieces, 1).astype(np.float64)
    most = BURST * np.median(np.abs(whole), 1, keepdims=True) + 1e-9
    cut = np.clip(whole, -most, most)
    covariance = cut @ cut.T / cut.shape[1]
    level = np.trace(covariance) / len(covariance)
    values, vectors = np.linalg.eigh((1 - SHRINK) * covariance + SHRINK * level * np.eye(len(covariance)))
    map_ = SPREAD * (vectors / np.sqrt(values)) @ vectors.T
    return [(map_ @ values).astype(np.float32) for values in pieces]


def _flattened(pieces: Sequence[Values], rate: float, band: Band) -> list[Values]:
    """Pieces `[C, S]` of one person, each channel filtered without delay by the inverse of its mean amplitudes."""
    length = min(LENGTH, *(values.shape[1] for values in pieces)) // 2 * 2
    if length < 8:
        return list(pieces)
    window = np.hanning(length)
    parts = [
        np.lib.stride_tricks.sliding_window_view(values, length, 1)[:, :: length // 2] for values in pieces
    ]
    power = np.concatenate([np.abs(np.fft.rfft(part * window)) ** 2 for part in parts], 1).mean(1)  # [C, F]
    power = power / (window**2).sum() + FLOOR * power.mean(1, keepdims=True) / (window**2).sum()
    found = [_filtered(values, power, length, rate, band) for values in pieces]
    spread = np.concatenate(found, 1).std(1, keepdims=True) + 1e-9
    return [(SPREAD * values / spread).astype(np.float32) for values in found]


def _filtered(values: Values, power: NDArray, length: int, rate: float, band: Band) -> NDArray:
    spectrum = np.fft.rfft(values)
    frequency = np.fft.rfftfreq(values.shape[1], 1 / rate)
    known = np.fft.rfftfreq(length, 1 / rate)
    gain = np.stack([np.interp(frequency, known, row) for row in power]) ** -0.5
    if band is not None:
        gain *= (frequency >= band[0]) & (frequency <= band[1])
    return np.fft.irfft(spectrum * gain, n=values.shape[1])

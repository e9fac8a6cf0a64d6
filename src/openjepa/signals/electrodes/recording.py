"""One recording of several electrodes: what a reader gives, and how it is brought to one rate, band and unit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from openjepa.errors import UserError, warn
from openjepa.signals.electrodes.montage import Place, canonical, place

Values = NDArray[np.float32]

PERIODS = 3
"""A piece shorter than so many periods of the band's lower end is freed of its mean instead of slow drifts."""
ORDER = 4
"""Of the Butterworth filter, which runs forwards and backwards."""
TINY = 1e-3
"""Microvolts of standard deviation below which a channel is flat: a thousandth of an amplifier's noise."""
MILD = 5e4
"""Microvolts that a median size of values above it can hardly mean: other units."""


@dataclass(frozen=True)
class Event:
    """What was written down while recording: seconds after the beginning, how many seconds, and what."""

    start: float
    duration: float
    name: str


@dataclass(frozen=True, eq=False)
class Piece:
    """Samples without a gap: seconds after the beginning, and values in microvolts, `[S]` a channel."""

    start: float
    values: Sequence[NDArray] | NDArray


@dataclass(frozen=True, eq=False)
class Recording:
    """A recording as it comes.

    Attributes:
        name: what messages call it: its file.
        channels: names, as they come.
        rates: samples a second, of each channel.
        pieces: in order of time.
        places: of each channel, on a head of radius 1, `None` of what is no electrode; or `None`: all by name.
        events: annotations.
        subject: who was recorded; empty where nothing says so.
        label: of the whole recording; `None` without one.
    """

    name: str
    channels: Sequence[str]
    rates: Sequence[float]
    pieces: Sequence[Piece]
    places: Sequence[Place | None] | None = None
    events: Sequence[Event] = ()
    subject: str = ""
    label: str | None = None


@dataclass(frozen=True, eq=False)
class Prepared:
    """A recording at the signal's rate and in its band.

    Attributes:
        channels, places: of the electrodes that are used.
        pieces: seconds after the beginning, and `[C, S]` in microvolts.
        missing: seconds left out for being no numbers.
    """

    name: str
    channels: tuple[str, ...]
    places: tuple[Place, ...]
    pieces: list[tuple[float, Values]]
    events: Sequence[Event] = field(default=())
    subject: str = ""
    label: str | None = None
    missing: float = 0.0


def prepare(recording: Recording, rate: float, band: tuple[float, float] | None) -> Prepared:
    """Electrodes alone, resampled and filtered piece by piece, without what is no number.

    Channels whose names are no electrode's, and those that are flat all over, are left out, with a warning.

    Raises:
        UserError: no channel or no sample is left, a rate too low for the band.
    """
    places = [place(name) for name in recording.channels] if recording.places is None else recording.places
    _check(recording, len(places))
    used = [i for i, where in enumerate(places) if where is not None]
    if not used:
        raise UserError(
            f"{recording.name}: none of its channels ({_some(recording.channels)}) has an electrode's name: name them "
            "as the 10-5 system does, or give their places"
        )
    names = [canonical(name) for name in recording.channels]
    if twice := sorted({names[i] for i in used if [names[j] for j in used].count(names[i]) > 1}):
        raise UserError(
            f"{recording.name}: channels {_some(twice)} are there more than once: keep one of each"
        )
    if others := [recording.channels[i] for i in range(len(places)) if places[i] is None]:
        warn(f"{recording.name}: channels {_some(others)} are no electrodes on the head and are left out")
    used = _numbered(recording, used)
    lowest = min(recording.rates[i] for i in used)
    if band is not None and lowest < 2 * band[1]:
        raise UserError(
            f"{recording.name}: {lowest:g} samples a second show nothing above {lowest / 2:g} Hz, and signal.band "
            f"reaches {band[1]:g} Hz: lower it, or leave the recording out"
        )
    pieces, missing = [], 0.0
    flat = np.ones(len(used), bool)
    for piece in recording.pieces:
        for start, raw in _sound(piece, [recording.rates[i] for i in used], used):
            flat &= [float(np.std(x)) < TINY for x in raw]
            resampled = [resample(x, recording.rates[i], rate) for x, i in zip(raw, used, strict=True)]
            length = min(map(len, resampled))
            pieces.append((start, filtered(np.stack([x[:length] for x in resampled]), rate, band)))
        missing += _lost(piece, [recording.rates[i] for i in used], used)
    if not pieces:
        raise UserError(
            f"{recording.name}: no stretch of it holds numbers in all channels: mend or remove it"
        )
    if flat.all():
        raise UserError(f"{recording.name}: every channel is flat, so there is nothing to learn from")
    if flat.any():
        warn(
            f"{recording.name}: channels {_some([names[used[i]] for i in np.flatnonzero(flat)])} are flat and left out"
        )
    kept = np.flatnonzero(~flat)
    if missing:
        warn(f"{recording.name}: {missing:.1f} s hold values that are no numbers and are left out")
    if (size := float(np.median(np.abs(pieces[0][1][kept])))) > MILD:
        warn(f"{recording.name}: values of {size:.3g} µV are no brain's: are they in other units?")
    if len(kept) < len(flat):
        pieces = [(start, values[kept]) for start, values in pieces]
    return Prepared(
        recording.name,
        tuple(names[used[i]] for i in kept),
        tuple(where for i in kept if (where := places[used[i]]) is not None),
        pieces,
        tuple(recording.events),
        recording.subject,
        recording.label,
        missing,
    )


def resample(values: NDArray, before: float, after: float) -> NDArray:
    """`[..., S]` at another rate, by a polyphase filter that lets nothing above half of either rate through."""
    ratio = Fraction(after / before).limit_denominator(10_000)
    if ratio == 0:
        raise UserError(f"{before:g} samples a second are too many to be brought to {after:g}")
    if ratio == 1:
        return np.asarray(values, np.float32)
    from scipy.signal import resample_poly  # scipy comes with scikit-learn; not paid for on import

    return resample_poly(
        np.asarray(values, np.float64), ratio.numerator, ratio.denominator, axis=-1, padtype="line"
    ).astype(np.float32)


def filtered(values: Values, rate: float, band: tuple[float, float] | None) -> Values:
    """`[C, S]` with what is in the band alone, without delay; of short pieces slow drifts stay but for the mean."""
    if band is None:
        return values
    from scipy.signal import butter, sosfiltfilt

    low, high = band
    values = (values - values.mean(-1, keepdims=True)).astype(np.float64)
    slow = low > 0 and values.shape[-1] >= PERIODS * rate / low
    fast = high < 0.49 * rate
    if not slow and not fast:
        return values.astype(np.float32)
    kind = "bandpass" if slow and fast else "highpass" if slow else "lowpass"
    edges = [low, high] if slow and fast else low if slow else high
    sections = butter(ORDER, edges, kind, fs=rate, output="sos")
    pad = min(values.shape[-1] - 1, math.ceil(rate / low) if slow else math.ceil(4 * rate / high))
    return sosfiltfilt(sections, values, axis=-1, padlen=pad).astype(np.float32)


def _check(recording: Recording, places: int) -> None:
    count = len(recording.channels)
    if count == 0 or not recording.pieces:
        raise UserError(f"{recording.name}: it holds no channel, or no sample")
    if len(recording.rates) != count or places != count:
        raise UserError(
            f"{recording.name}: {count} channels have {len(recording.rates)} rates and {places} places: give one each"
        )
    if bad := [rate for rate in recording.rates if not 0 < rate < 1e7]:
        raise UserError(f"{recording.name}: {bad[0]:g} samples a second are no sampling rate")


def _numbered(recording: Recording, used: Sequence[int]) -> list[int]:
    """Channels that hold numbers at all."""
    kept = [i for i in used if any(np.isfinite(piece.values[i]).any() for piece in recording.pieces)]
    if not kept:
        raise UserError(f"{recording.name}: no value is a number: mend or remove it")
    if empty := [recording.channels[i] for i in used if i not in kept]:
        warn(f"{recording.name}: channels {_some(empty)} hold no number and are left out")
    return kept


def _sound(piece: Piece, rates: Sequence[float], used: Sequence[int]) -> list[tuple[float, list[NDArray]]]:
    """The piece's stretches in which all used channels hold numbers: start in seconds, and each channel's samples."""
    values = [np.asarray(piece.values[i]) for i in used]
    if all(np.isfinite(x).all() for x in values):
        return [(piece.start, values)] if min(map(len, values)) > 0 else []
    found = []
    for first, last in _stretches(values, rates):
        cut = [
            x[math.ceil(first * r - 1e-6) : math.floor(last * r + 1e-6)]
            for x, r in zip(values, rates, strict=True)
        ]
        if min(map(len, cut)) > 0 and all(np.isfinite(x).all() for x in cut):
            found.append((piece.start + first, cut))
    return found


def _stretches(values: Sequence[NDArray], rates: Sequence[float]) -> list[tuple[float, float]]:
    """Seconds from and to which no channel lacks a number."""
    edges = [0.0, min(len(x) / rate for x, rate in zip(values, rates, strict=True))]
    holes = []
    for x, rate in zip(values, rates, strict=True):
        missing = np.diff(np.concatenate([[False], ~np.isfinite(x), [False]]).astype(np.int8))
        firsts, lasts = np.flatnonzero(missing > 0) / rate, np.flatnonzero(missing < 0) / rate
        holes += zip(firsts.tolist(), lasts.tolist(), strict=True)
    found, at = [], edges[0]
    for first, last in sorted(holes):
        if first > at:
            found.append((at, first))
        at = max(at, last)
    return [*found, (at, edges[1])] if at < edges[1] else found


def _lost(piece: Piece, rates: Sequence[float], used: Sequence[int]) -> float:
    """Seconds in which a used channel holds no number."""
    values = [np.asarray(piece.values[i]) for i in used]
    if all(np.isfinite(x).all() for x in values):
        return 0.0
    whole = min(len(x) / rate for x, rate in zip(values, rates, strict=True))
    return whole - sum(last - first for first, last in _stretches(values, rates))


def _some(names: Sequence[str], most: int = 6) -> str:
    shown = ", ".join(names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")

"""Alignment of people: covariance and spectrum, of each person alone."""

import numpy as np
import pytest
from scipy.signal import lfilter

from openjepa.signals.electrodes import ElectrodeSignal, Piece, Recording, open_recordings
from openjepa.signals.electrodes.alignment import SPREAD, aligned
from openjepa.signals.electrodes.recording import Prepared

NAMES = ("Fp1", "Fp2", "C3", "C4", "O1", "O2")


def people(count: int = 3, seed: int = 0) -> list[Prepared]:
    """Two recordings a person, of noise that each mixes and colours in its own way."""
    random = np.random.default_rng(seed)
    found = []
    for person in range(count):
        mixing = 10 * np.eye(6) + 1.5 * random.normal(size=(6, 6))
        for part in range(2):
            noise = lfilter([1], [1, -0.2 * (person + 1)], random.normal(size=(6, 4096)))
            piece = (mixing @ noise).astype(np.float32)
            found.append(
                Prepared(
                    f"{person}-{part}", NAMES, ((0.0, 0.0, 1.0),) * 6, [(0.0, piece)], subject=str(person)
                )
            )
    return found


def values(recordings: list[Prepared], person: str) -> np.ndarray:
    return np.concatenate([v for r in recordings if r.subject == person for _, v in r.pieces], 1)


def test_each_persons_electrodes_become_uncorrelated_and_equally_strong():
    found = aligned(people(), "covariance", 128.0, None)
    for person in "012":
        covariance = np.cov(values(found, person)) / SPREAD**2
        assert np.abs(covariance - np.eye(6)).max() < 0.3


def test_each_persons_electrodes_become_equally_strong_at_all_frequencies():
    found = aligned(people(), "spectrum", 128.0, None)
    for person in "012":
        power = np.abs(np.fft.rfft(values(found, person))) ** 2
        bands = np.stack([part.mean(1) for part in np.array_split(power[:, 40:], 8, 1)], 1)
        assert (bands.max(1) / bands.min(1)).max() < 3
        assert values(found, person).std(1) == pytest.approx(SPREAD, rel=1e-3)


def test_frequencies_outside_the_band_stay_away():
    found = values(aligned(people(), "spectrum", 128.0, (4.0, 30.0)), "0")[:, :4096]
    power = np.abs(np.fft.rfft(found)).mean(0)
    frequency = np.fft.rfftfreq(4096, 1 / 128)
    assert power[frequency > 35].max() < 0.05 * power[(frequency > 5) & (frequency < 29)].mean()


def test_a_person_depends_on_nobody_else_and_what_differs_between_recordings_stays():
    both = people(2)
    both[1].pieces[0][1][:] *= 4
    alone = aligned(both[:2], "spectrum", 128.0, None)
    for one, other in zip(alone, aligned(both, "spectrum", 128.0, None)[:2], strict=True):
        assert np.array_equal(one.pieces[0][1], other.pieces[0][1])
    assert alone[1].pieces[0][1].std() / alone[0].pieces[0][1].std() > 2


def test_sets_are_aligned_as_the_signal_says():
    recordings = [
        Recording(r.name, NAMES, [128.0] * 6, [Piece(0.0, r.pieces[0][1])], subject=r.subject)
        for r in people()
    ]
    plain, changed = (
        open_recordings(recordings, ElectrodeSignal(seconds=2, align=how)) for how in ("none", "covariance")
    )
    assert len(plain) == len(changed) and plain.subjects == changed.subjects
    assert changed.spread == pytest.approx(SPREAD, rel=0.3)
    assert not np.allclose(plain.read([0]).values, changed.read([0]).values, atol=1)

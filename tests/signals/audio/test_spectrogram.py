"""Log-mel spectrograms: levels, bands, silence, and that they are of each clip alone."""

import math

import numpy as np
import pytest
import torch

from openjepa.signals.audio import AudioSignal
from openjepa.signals.audio.spectrogram import LogMel, mel_bank, to_mel

from .recordings import tone

SPEC = AudioSignal(seconds=1, bands=40, patch=8).spec(16_000)


def test_white_noise_has_its_variance_in_every_band():
    noise = 0.1 * torch.randn(1, 160_000, generator=torch.Generator().manual_seed(0))
    levels = SPEC.whole(noise)[0, :, 2:-2].exp().mean(1)
    assert torch.allclose(levels, torch.full((40,), 0.01), rtol=0.1)


@pytest.mark.parametrize("hertz", [200.0, 1000.0, 5000.0])
def test_a_tone_is_loudest_in_its_band(hertz: float):
    mels = SPEC.whole(torch.from_numpy(tone(hertz=hertz))[None])[0, :, 50]
    low, high = to_mel(SPEC.low), to_mel(SPEC.high)
    place = (to_mel(hertz) - low) / (high - low) * 41 - 1
    assert abs(int(mels.argmax()) - place) <= 0.6


def test_no_band_is_empty_however_narrow():
    fine = LogMel(16_000, 400, 160, 400, 128, 20.0, 8000.0, -80.0)
    bank = mel_bank(fine)
    assert (bank >= 0).all() and torch.allclose(bank.sum(0), torch.ones(128), atol=1e-5)


def test_against_the_definition():
    """Frame 7 of a random sound, by a discrete Fourier transform written out."""
    sound = np.random.default_rng(0).normal(0, 0.1, 16_000)
    start = 7 * SPEC.hop - SPEC.before
    part = sound[start : start + SPEC.window] * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400))
    angles = -2j * np.pi * np.arange(257)[:, None] * np.arange(400) / 512
    power = np.abs(np.exp(angles) @ part) ** 2 / np.sum(
        (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)) ** 2
    )
    expected = np.log(power @ mel_bank(SPEC).double().numpy() + 1e-8)
    found = SPEC.whole(torch.from_numpy(sound).float()[None])[0, :, 7]
    assert np.allclose(found.numpy(), expected, atol=1e-4)


def test_silence_is_finite_and_at_the_floor():
    mels = SPEC.whole(torch.zeros(1, 8000))
    assert torch.allclose(mels, torch.tensor(math.log(1e-8)))


def test_long_sounds_and_batches_are_what_each_frame_is_alone():
    sound = torch.randn(3, 16_000 * 90, generator=torch.Generator().manual_seed(0))
    together = SPEC.whole(sound)
    assert together.shape == (3, 40, 9000)
    assert torch.allclose(SPEC.whole(sound[1:2])[0], together[1], atol=1e-4)
    part = SPEC(sound[:, 500 * SPEC.hop - SPEC.before :][:, : SPEC.span(20)])
    assert torch.allclose(part, together[:, :, 500:520], atol=1e-4)


@pytest.mark.parametrize(
    ("samples", "frames"), [(1, 1), (79, 1), (160, 1), (239, 1), (240, 2), (16_000, 100)]
)
def test_a_frame_for_each_hop(samples: int, frames: int):
    assert SPEC.whole(torch.ones(1, samples)).shape[2] == SPEC.frames(samples) == frames

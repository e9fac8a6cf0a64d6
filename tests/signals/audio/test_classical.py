"""Classical features of sound: what each tells, padding, and that nothing depends on other clips."""

import numpy as np
import pytest
import torch

from openjepa.errors import UserError
from openjepa.signals.audio import AudioSignal
from openjepa.signals.audio.classical import cepstra, classical, stretched_cepstra

from .recordings import tone

SIGNAL = AudioSignal(seconds=0.8, bands=40, patch=8)


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(0)
    sounds = []
    for i in range(40):
        rising = i % 2 == 0
        hertz = np.linspace(300, 1500, 8000 + 100 * i)[:: 1 if rising else -1]
        sound = 0.3 * np.sin(2 * np.pi * np.cumsum(hertz) / 16_000) + rng.normal(0, 0.01, len(hertz))
        sounds.append((10 ** rng.uniform(-1, 0) * sound).astype(np.float32))
    return SIGNAL.open((sounds, np.arange(40) % 2))


def read(source, samples, rows, name):
    parts = [values[name] for _, values in source.stream(samples, np.array(rows), [name])]
    return torch.cat(parts)


def test_every_row_gives_finite_features_of_each_clip_alone(samples):
    rows = classical(SIGNAL.spectrograms)
    assert [row.name for row in rows] == [
        "log-mel statistics",
        "MFCC statistics",
        "k-means codes",
        "MiniRocket",
    ]
    for row in rows:
        source = row.fit(samples, seed=0, total=40, progress=None)
        for name, dims in source.poolings.items():
            whole = read(source, samples, range(40), name)
            assert whole.shape == (40, dims) and whole.isfinite().all()
            assert torch.allclose(read(source, samples, [7], name)[0], whole[7], atol=1e-4)
            again = read(row.fit(samples, seed=0), samples, [7], name)
            assert torch.equal(again, read(source, samples, [7], name))


@pytest.mark.parametrize(
    ("row", "name"), [(0, "8 segments"), (1, "8 segments"), (2, "codes"), (3, "MFCC, stretched")]
)
def test_what_knows_of_time_tells_rising_from_falling_at_any_loudness(samples, row, name):
    source = classical(SIGNAL.spectrograms)[row].fit(samples, seed=0)
    x = read(source, samples, range(40), name)
    x = (x - x.mean(0)) / x.std(0).clamp_min(1e-6)
    y = torch.from_numpy(samples.labels.values * 2.0 - 1).float()
    fit, held = torch.arange(40) < 30, torch.arange(40) >= 30
    weights = torch.linalg.lstsq(x[fit] @ x[fit].T + 10 * torch.eye(30), y[fit]).solution
    assert ((x[held] @ x[fit].T @ weights).sign() == y[held]).float().mean() >= (
        0.6 if name == "codes" else 0.9
    )


def test_cepstra_are_an_orthonormal_cosine_transform():
    mels = torch.randn(2, 13, 5)
    assert torch.allclose(cepstra(mels).square().sum(1), mels.square().sum(1), atol=1e-4)
    flat = cepstra(torch.ones(1, 40, 3))
    assert torch.allclose(flat[:, 0], torch.full((1, 3), 40**0.5)) and flat[:, 1:].abs().max() < 1e-5


def test_stretching_looks_at_what_is_there_and_takes_the_mean_off():
    mels = torch.randn(1, 40, 60, generator=torch.Generator().manual_seed(0))
    valid = torch.arange(60)[None] < 30
    found = stretched_cepstra(mels, valid)
    assert torch.equal(found, stretched_cepstra(torch.where(valid[:, None], mels, 50.0), valid))
    louder = stretched_cepstra(mels + 3, valid)
    assert torch.allclose(found, louder, atol=1e-4) and found.shape == (1, 13, 48)


def test_levels():
    assert [len(classical(SIGNAL.spectrograms, level)) for level in ("none", "quick", "all")] == [0, 2, 4]
    with pytest.raises(UserError, match="unknown classical features"):
        classical(SIGNAL.spectrograms, "some")


def test_short_and_silent_clips():
    some = SIGNAL.open([tone(0.8), tone(0.02), np.r_[tone(0.1), np.zeros(9000, np.float32)]] * 3)
    for row in classical(SIGNAL.spectrograms):
        source = row.fit(some, seed=0)
        for name in source.poolings:
            assert read(source, some, range(9), name).isfinite().all()

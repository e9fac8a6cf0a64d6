"""Clips as tokens: patches and padding, views and where they lie, statistics, pictures, tasks."""

import numpy as np
import pytest
import torch

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.health.tasks import answers
from openjepa.signals.audio import AudioSignal, Sounds, Waves
from openjepa.signals.audio.augment import SoundAugment, augment_sounds
from openjepa.signals.pictures import Marks

from .recordings import tone

SIGNAL = AudioSignal(seconds=0.32, bands=32, patch=8, mean=-8.0, std=4.0, high=8000.0)


def clips(lengths: tuple[int, ...] = (32, 20, 3, 32)) -> Sounds:
    """Random spectrograms of so many frames."""
    mels = torch.randn(len(lengths), 32, 32, generator=torch.Generator().manual_seed(0)) * 4 - 8
    return Sounds(torch.arange(32) < torch.tensor(lengths)[:, None], mels)


def test_patches_are_squares_of_the_spectrogram_and_fold_back():
    batch = clips((32, 32))
    tokens = SIGNAL.tokenise(batch)
    assert tokens.values.shape == (2, 16, 64) and tokens.layout == (4, 4) and tokens.valid is None
    expected = (batch.mels[1, 8:16, 24:32] + 8) / 4
    assert torch.allclose(tokens.values[1, 1 * 4 + 3], expected.flatten())
    assert tokens.positions[0, 7].tolist() == [1, 3]
    assert torch.allclose(SIGNAL.planes(tokens)[:, 0] * 4 - 8, batch.mels, atol=1e-5)
    assert torch.allclose(SIGNAL.restored(tokens).mels, batch.mels, atol=1e-5)


def test_padding_is_zero_and_no_token():
    batch = clips()
    tokens = SIGNAL.tokenise(batch)
    columns = tokens.valid.unflatten(1, (4, 4)).all(1)
    assert columns.tolist() == [
        [True] * 4,
        [True, True, True, False],
        [True, False, False, False],
        [True] * 4,
    ]
    assert (tokens.values[2].unflatten(0, (4, 4))[:, 1:] == 0).all()
    other = Sounds(batch.valid, torch.where(batch.valid[:, None], batch.mels, 99.0))
    for level in ("keep", "clip", "frame"):
        signal = SIGNAL.model_copy(update={"level": level})
        assert torch.equal(signal.tokenise(batch).values, signal.tokenise(other).values)


def test_level_clip_makes_features_the_same_behind_any_filter_and_level_frame_at_any_loudness():
    batch = clips()
    filtered = Sounds(batch.valid, batch.mels + torch.linspace(-3, 5, 32)[:, None])
    louder = Sounds(batch.valid, batch.mels + torch.linspace(-3, 5, 32))
    for level, other in (("clip", filtered), ("frame", louder)):
        signal = SIGNAL.model_copy(update={"level": level})
        assert torch.allclose(signal.tokenise(batch).values, signal.tokenise(other).values, atol=1e-5)


def test_statistics_are_of_the_sound_and_not_of_padding():
    noise = [
        np.random.default_rng(i).normal(0, 0.1, n).astype(np.float32)
        for i, n in enumerate((16_000, 2000, 800))
    ]
    signal = AudioSignal(seconds=0.32, bands=32, patch=8)
    samples = signal.open(noise)
    fitted = signal.fitted(samples)
    batch = samples.read(range(3))
    there = batch.mels.transpose(1, 2)[batch.valid]
    assert fitted.mean == pytest.approx(there.mean().item(), abs=1e-2)
    assert fitted.std == pytest.approx(there.std().item(), abs=1e-2)
    by_hand = signal.model_copy(update={"mean": -7.06, "std": 4.2}).fitted(samples)
    assert (by_hand.mean, by_hand.std) == (-7.06, 4.2)


def test_a_users_arrays_are_taken_whole():
    batch = SIGNAL.batch(np.stack([tone(0.5), tone(0.5)]))
    assert batch.mels.shape == (2, 32, 56) and batch.valid.sum(1).tolist() == [50, 50]
    one = SIGNAL.batch(Waves([tone(0.5, 8000), tone(0.2, 48_000)], [8000, 48_000]))
    assert one.valid.sum(1).tolist() == [50, 20]
    assert SIGNAL.batch(torch.from_numpy(tone(0.3))).mels.shape == (1, 32, 32)
    with pytest.raises(UserError, match="no numbers"):
        SIGNAL.batch(np.full((1, 4000), np.nan, np.float32))


AUGMENT = SoundAugment(gain=6, equaliser=6, crop=0.6, stretch=1.2, shift=0.1, views=2)


def test_no_augmentation_changes_nothing():
    batch = clips()
    seen = augment_sounds(SoundAugment(), batch.mels, batch.valid, Rng(0, 0))
    assert torch.equal(seen.mels, batch.mels) and torch.equal(seen.valid, batch.valid)


def test_views_show_parts_of_what_is_there():
    batch = clips((32, 20, 3, 32) * 8)
    seen = augment_sounds(AUGMENT, batch.mels, batch.valid, Rng(0, 0))
    lengths, before = seen.valid.sum(1), batch.valid.sum(1)
    assert (lengths >= 1).all() and (lengths <= before * 1.2 + 1).all() and (lengths < before).any()
    assert (seen.first >= 0).all() and (seen.first + (lengths - 1) * seen.speed <= before).all()


def test_where_a_target_lies_as_its_context_counts():
    """A ramp in time and one over bands tell where each token was; positions must say the same."""
    time = torch.arange(64.0).expand(8, 64, 64)
    band = torch.arange(64.0)[:, None].expand(8, 64, 64)
    signal = AudioSignal(seconds=0.64, bands=64, patch=8, mean=0.0, std=1.0, high=8000.0)
    signal = signal.model_copy(update={"augment": AUGMENT.model_copy(update={"gain": 0.0, "equaliser": 0.0})})
    valid = torch.ones(8, 64, dtype=torch.bool)
    middles = []
    for ramp in (band, time):
        seen = signal.augmented(Sounds(valid, ramp), Rng(0, 3))
        middles.append([part.values.mean(-1) for part in (seen.context, seen.target)])
    for axis, (context, target) in enumerate(middles):
        at = seen.place[..., axis]
        inner = seen.target.positions[0]
        inside = ((inner > 0.5) & (inner < 6.5)).all(-1).expand(8, -1)
        if seen.target.valid is not None:
            later = (
                seen.target.valid.unflatten(1, (8, 8)).roll(-1, 2).flatten(1)
            )  # a column cut short has zeros
            inside = inside & seen.target.valid & later
        first = context.unflatten(1, (8, 8))[:, 3, 1]
        slope = (context.unflatten(1, (8, 8))[:, 4, 1] - first) if axis == 0 else 8 * _speed(signal, valid)
        origin = 3 if axis == 0 else 1
        expected = first[:, None] + (at - origin) * slope[:, None]
        assert inside.any(1).all() and (expected - target)[inside].abs().max() < 0.6


def _speed(signal: AudioSignal, valid: torch.Tensor) -> torch.Tensor:
    return augment_sounds(signal.augment, torch.zeros(8, 64, 64), valid, Rng(0, 3).stream("sound")).speed


def test_views_are_those_of_the_global_batch():
    batch, signal = clips((32, 20, 8, 32)), SIGNAL.model_copy(update={"augment": AUGMENT})
    whole = signal.augmented(batch, Rng(1, 2))
    half = signal.augmented(batch[2:], Rng(1, 2, start=2, total=4))
    assert torch.allclose(whole.target.values[2:], half.target.values, atol=1e-6)
    assert torch.allclose(whole.place[2:], half.place, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bands": 30}, "multiple of the patch"),
        ({"seconds": 0.05}, "fewer than a patch"),
        ({"high": 9000.0}, "16,000 samples a second show 8000"),
        ({"low": 8000.0}, "not below"),
        ({"fft": 256}, "less than the window"),
        ({"seconds": 3600.0, "patch": 1}, "tokens"),
    ],
)
def test_settings_that_cannot_go_together(options: dict, said: str):
    with pytest.raises(UserError, match=said):
        AudioSignal.parse({"bands": 32, "patch": 8, **options})


def test_health_asks_what_sound_is_like():
    batch = clips((32, 20, 9, 32) * 10)
    signal = SIGNAL
    found = answers(signal.tasks(batch), lambda part: signal.spectrograms(part).flatten(1))
    assert set(found) == {"look", "view", "coarse"} and all(v.isfinite().all() for v in found.values())


def test_pictures_show_low_bands_at_the_bottom_and_marks_where_they_are():
    mels = torch.full((1, 32, 32), -16.0)
    mels[0, :4] = 0.0  # the lowest bands are loud
    batch = Sounds(torch.ones(1, 32, dtype=torch.bool), mels)
    picture = SIGNAL.picture(batch, 0)
    height = picture.pixels.shape[0]
    assert picture.pixels[height - 2, 5].sum() > 400 > picture.pixels[2, 5].sum()
    hidden = np.zeros((4, 4), bool)
    hidden[0, 1] = True  # of the lowest bands, the second time
    shown = SIGNAL.picture(batch, 0, Marks(hidden=hidden.flatten())).pixels
    assert (shown[-2, 8 * 3 + 2 :][: 8 * 3 - 4, 3] == 0).all() and shown[2, 8 * 3 + 4, 3] == 255
    error = np.where(hidden, 2.0, np.nan).flatten()
    assert SIGNAL.picture(batch, 0, Marks(error=error)).pixels.shape[2] == 4
    assert "path" in SIGNAL.picture(batch, 0, Marks(blocks=hidden.reshape(1, -1))).drawing
    padded = Sounds(torch.arange(32)[None] < 16, mels)
    assert (SIGNAL.picture(padded, 0).pixels[:, -4:, 3] == 0).all()

"""Radar chips: amplitudes as they are, of any depth, and what is refused, in a sentence each."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from openjepa.errors import OpenJEPAWarning, UserError
from openjepa.recipes import configure
from openjepa.signals.images.radar import RadarSignal
from openjepa.signals.pictures import Marks

SIGNAL = RadarSignal(size=32, patch=8)


def chips(count: int = 24, most: float = 40_000.0) -> np.ndarray:
    random = np.random.default_rng(0)
    return random.gamma(1, most / 12, (count, 32, 32)).clip(0, most)


def fitted(data: object) -> tuple[RadarSignal, torch.Tensor]:
    """The signal as a training would have it, and the patches' pixels in 0..1."""
    config = configure("sar-jepa", "tiny", {"signal.size": "32", "signal.patch": "8"})
    signal = config.adapt(config.open(data, adapt=True)).signal
    samples = signal.open(data)
    return signal, signal.scaled(signal.tokenise(samples.read(range(len(samples)))))


def test_bytes_and_fractions_are_taken_as_they_are() -> None:
    x = chips(most=255).astype(np.uint8)
    signal, values = fitted(x)
    assert (signal.range, signal.mean, signal.std) == (None, (0.0,), (1.0,))
    torch.testing.assert_close(values[:, 0], torch.from_numpy(x) / 255)
    torch.testing.assert_close(fitted(chips(most=0.9))[1][:, 0], torch.from_numpy(chips(most=0.9)).float())


def test_zero_stays_zero_whatever_the_smallest_amplitude() -> None:
    x = (chips() + 1000).astype(np.uint16)
    signal, values = fitted(x)
    assert signal.range == (0.0, float(x.max()))
    torch.testing.assert_close(values[:, 0], torch.from_numpy(x.astype(np.float32) / x.max()))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_files_of_16_bits_keep_all_of_them(tmp_path: Path, suffix: str) -> None:
    x = chips().astype(np.uint16)
    x[:, 0, 0] = np.arange(24) + 300  # 24 neighbouring values, of which 8 bits would make one
    for i, chip in enumerate(x):
        folder = tmp_path / "ab"[i % 2]
        folder.mkdir(exist_ok=True)
        Image.fromarray(chip).save(folder / f"{i:02d}.{suffix}")
    samples = SIGNAL.open(tmp_path)
    assert samples.labels is not None and samples.labels.names == ("a", "b")
    signal, values = fitted(tmp_path)
    assert signal.range == (0.0, float(x.max())) and len(values[:, 0, 0, 0].unique()) == 24


def test_a_picture_shows_the_roots_of_amplitudes_and_hides_what_is_hidden() -> None:
    batch = torch.zeros(1, 1, 32, 32, dtype=torch.uint8)
    batch[..., 16:] = 51  # a fifth, whose root is 0.447
    picture = SIGNAL.picture(batch, 0, Marks(hidden=np.arange(16) == 7))
    assert picture.pixels is not None
    colour, opacity = picture.pixels[..., :3], picture.pixels[..., 3]
    assert (colour[:, :16] == 0).all() and (colour[:, 16:] == 114).all()
    assert (opacity[8:16, 24:] == 0).all() and int((opacity == 255).sum()) == 15 * 64


def test_a_grey_picture_of_three_equal_colours_is_one_band(tmp_path: Path) -> None:
    for i, chip in enumerate(chips(16, 255).astype(np.uint8)):
        Image.fromarray(np.repeat(chip[..., None], 3, 2)).save(tmp_path / f"{i}.png")
    assert SIGNAL.open(tmp_path).read([0]).shape == (1, 1, 32, 32)


def test_a_file_that_is_cut_off_or_no_number_is_left_out_and_named(tmp_path: Path) -> None:
    for i, chip in enumerate(chips(18).astype(np.float32)):
        chip[3, 4] = np.nan if i == 16 else chip[3, 4]
        Image.fromarray(chip).save(tmp_path / f"{i:02d}.tif")
    (tmp_path / "17.tif").write_bytes((tmp_path / "17.tif").read_bytes()[:300])
    with pytest.warns(
        OpenJEPAWarning, match=r"2 files are left out beside 16 images: 16.tif \(it holds .*NaN.*17.tif"
    ):
        samples = SIGNAL.open(tmp_path)
    assert len(samples) == 16


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (chips() * (1 + 1j), "complex.* numpy.abs"),
        (np.stack([chips()] * 2, -1), "2 channels where 1"),
        (-chips(), "amplitudes are not negative"),
        (np.full((24, 32, 32), 7.5), "every value of every image is 7.5"),
        (np.where(chips() > 9_000, np.nan, chips()), "NaN or infinite"),
    ],
)
def test_what_is_no_amplitude_is_refused_in_a_sentence(data: np.ndarray, said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        fitted(data)
    assert "\n" not in str(error.value)


def test_constant_chips_among_others_are_told() -> None:
    x = chips()
    x[5] = 100
    with pytest.warns(OpenJEPAWarning, match=r"1 images hold one value all over and teach nothing \(5\)"):
        fitted(x)

"""What signals draw: cells shown, hidden, outlined and coloured."""

import re

import numpy as np
import torch

from openjepa.signals import pictures
from openjepa.signals.images.signal import ImageSignal
from openjepa.signals.pictures import Marks


def test_only_shows_the_chosen_cells():
    cells = np.array([[True, False], [False, True]])
    alpha = pictures.only(np.full((6, 6, 3), 9, np.uint8), cells)[..., 3]
    assert (alpha[:3, :3] == 255).all() and (alpha[3:, 3:] == 255).all()
    assert (alpha[:3, 3:] == 0).all() and (alpha[3:, :3] == 0).all()


def test_cells_cover_sizes_that_the_grid_does_not_divide():
    big = pictures.enlarge(np.arange(9).reshape(3, 3), (10, 11))
    assert big.shape == (10, 11) and set(big.ravel().tolist()) == set(range(9))


def test_outline_is_the_perimeter_and_nothing_inside():
    cells = np.zeros((4, 5), bool)
    cells[1:3, 1:4] = True  # 2 by 3: ten unit edges
    assert len(re.findall(r"M\d+ \d+[hv]1", pictures.outline(cells))) == 10
    assert pictures.outline(np.zeros((4, 5), bool)) == ""


def test_colours_of_ratios():
    colours = pictures.against_even(np.array([0.0, 1.0, 2.0, 7.0, np.nan]))
    assert [tuple(c) for c in colours.tolist()] == [
        pictures.GOOD,
        pictures.EVEN,
        pictures.BAD,
        pictures.BAD,
        pictures.BAD,
    ]


def test_pixels_of_any_number_of_channels_become_rgb():
    assert pictures.to_rgb(np.full((1, 2, 2), 0.5)).tolist() == [[[128] * 3] * 2] * 2
    assert pictures.to_rgb(np.full((5, 2, 2), 7, np.uint8)).shape == (2, 2, 3)
    assert pictures.to_rgb(np.full((1, 1, 1), 1.7)).max() == 255


def test_errors_are_coloured_over_the_faint_sample():
    image = np.full((4, 4, 3), 9, np.uint8)
    shown = pictures.heat(image, np.array([[0.0, np.nan], [2.0, np.nan]]))
    assert shown[0, 0].tolist() == [*pictures.GOOD, 255] and shown[3, 0].tolist() == [*pictures.BAD, 255]
    assert shown[0, 3].tolist() == [9, 9, 9, pictures.BEHIND]


def test_an_image_is_drawn_with_marks_on_its_patches():
    signal = ImageSignal(size=8, patch=4, channels=1, mean=(0.5,), std=(0.25,))
    batch = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8)
    plain = signal.picture(batch, 0)
    assert plain.pixels.shape == (8, 8, 3) and plain.pixels[7, 7].tolist() == [63] * 3
    hidden = np.array([True, False, False, False])
    kept = signal.picture(batch, 0, Marks(hidden=hidden, blocks=~hidden[None]))
    assert (kept.pixels[:4, :4, 3] == 0).all() and (kept.pixels[4:, :, 3] == 255).all()
    assert kept.drawing.startswith("<svg") and "M0 1h1" in kept.drawing
    faint = signal.picture(batch, 0, Marks(hidden=hidden, faint=True))
    assert (faint.pixels[:4, :4, 3] == pictures.FAINT).all()
    error = signal.picture(batch, 0, Marks(error=np.array([np.nan, 1.0, 2.0, 0.0])))
    assert error.pixels[0, 7].tolist() == [*pictures.EVEN, 255]
    one = signal.picture(batch, 0, Marks(colour=np.array([[1, 2, 3]], np.uint8), layout=(1, 1)))
    assert one.smooth and (one.pixels == [1, 2, 3]).all()


def test_an_image_is_restored_from_its_tokens_in_its_own_units():
    for limits in (None, (0.0, 1000.0)):
        signal = ImageSignal(size=8, patch=4, channels=2, range=limits, mean=(0.5,), std=(0.25,))
        batch = torch.rand(3, 2, 8, 8) * (limits or (0, 1))[1]
        assert torch.allclose(signal.restored(signal.tokenise(batch)), batch, atol=1e-3)

"""Pictures as data URIs."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from openjepa.report import pixels


def decode(uri: str) -> np.ndarray:
    head, _, body = uri.partition(";base64,")
    assert head in ("data:image/png", "data:image/webp")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body))))


@pytest.mark.parametrize("channels", [3, 4])
def test_small_pictures_survive_exactly(channels):
    image = np.random.default_rng(0).integers(0, 256, (12, 20, channels), dtype=np.uint8)
    assert (decode(pixels.data_uri(image)) == image).all()


def test_large_pictures_are_shrunk():
    uri = pixels.data_uri(np.random.default_rng(0).integers(0, 256, (224, 448, 3), dtype=np.uint8))
    assert decode(uri).shape == (pixels.LARGEST // 2, pixels.LARGEST, 3)


def test_only_shows_the_chosen_cells():
    cells = np.array([[True, False], [False, True]])
    alpha = pixels.only(np.full((6, 6, 3), 9, np.uint8), cells)[..., 3]
    assert (alpha[:3, :3] == 255).all() and (alpha[3:, 3:] == 255).all()
    assert (alpha[:3, 3:] == 0).all() and (alpha[3:, :3] == 0).all()


def test_cells_cover_sizes_that_the_grid_does_not_divide():
    big = pixels.enlarge(np.arange(9).reshape(3, 3), (10, 11))
    assert big.shape == (10, 11) and set(big.ravel().tolist()) == set(range(9))


def test_outline_is_the_perimeter_and_nothing_inside():
    cells = np.zeros((4, 5), bool)
    cells[1:3, 1:4] = True  # 2 by 3: ten unit edges
    assert len(re.findall(r"M\d+ \d+[hv]1", pixels.outline(cells))) == 10
    assert pixels.outline(np.zeros((4, 5), bool)) == ""


def test_colours_of_ratios():
    colours = pixels.against_even(np.array([0.0, 1.0, 2.0, 7.0, np.nan]))
    assert [tuple(c) for c in colours.tolist()] == [
        pixels.GOOD,
        pixels.EVEN,
        pixels.BAD,
        pixels.BAD,
        pixels.BAD,
    ]


def test_pixels_of_any_number_of_channels_become_rgb():
    assert pixels.to_rgb(np.full((1, 2, 2), 0.5)).tolist() == [[[128] * 3] * 2] * 2
    assert pixels.to_rgb(np.full((5, 2, 2), 7, np.uint8)).shape == (2, 2, 3)
    assert pixels.to_rgb(np.full((1, 1, 1), 1.7)).max() == 255

"""Pictures as data URIs."""

import base64
import io

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

"""Pictures as data sets store them (arrays of any layout, encoded images) to uint8 `[n, C, H, W]`."""

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from openjepa.errors import UserError
from openjepa.signals.images.arrays import to_pixels
from openjepa.signals.images.decode import FORMATS, fit, from_pil, header_of

ENCODED = (b"\xff\xd8\xff", b"\x89PNG")
"""First bytes of JPEG and PNG files."""

Pixels = NDArray[np.uint8]

PICTURE_BYTES, PICTURE_PIXELS = 2**26, 2**25
"""The largest encoded picture, and the most pixels in a frame."""


def from_array(array: NDArray) -> Pixels:
    """Frames `[n, H, W]`, `[n, H, W, C]` or `[n, C, H, W]`, integers in 0..255 or floats in 0..1.

    Raises:
        UserError: another shape or range.
    """
    if array.ndim > 2 and np.prod(array.shape[1:], dtype=np.float64) > 4 * PICTURE_PIXELS:
        raise UserError(f"frames of shape {list(array.shape[1:])} are larger than {PICTURE_PIXELS:,} pixels")
    if array.ndim == 4 and array.dtype == np.uint8 and array.shape[1] <= 4 < array.shape[3]:
        return array
    return to_pixels(array).numpy()


def from_encoded(images: Sequence[bytes]) -> Pixels:
    """Encoded images of one size, decoded on all cores; grey ones have one channel.

    Raises:
        One of `openjepa.signals.images.decode.BROKEN`: not an image, damaged, or of another size than the first.
    """

    def read(data: bytes) -> NDArray:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            header = header_of(image)
            if header.height * header.width > PICTURE_PIXELS:
                raise ValueError(
                    f"a picture of {header.width} x {header.height} pixels is too large for a frame"
                )
            if header.kind != "bytes":
                raise ValueError("it has more than 8 bits a pixel, as depth images do: frames are of bytes")
            return from_pil(image, (header.height, header.width), 1 if header.grey else 3).numpy()

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return np.stack(list(pool.map(read, images)))


def resized(frames: Pixels, side: int | None) -> Pixels:
    """The largest centred square, `side` pixels wide; unchanged where that is `None`."""
    return frames if side is None else fit(torch.from_numpy(frames), (side, side)).numpy()


def looks_like_pictures(shape: tuple[int, ...], dtype: np.dtype) -> bool:
    """Whether an array can be frames: `[n, H, W, C]` or `[n, C, H, W]` of any numbers, `[n, H, W]` of bytes."""
    if len(shape) == 3:
        return dtype == np.uint8 and min(shape[1:]) >= 8
    channels_last = len(shape) == 4 and shape[3] in (1, 2, 3, 4) and min(shape[1:3]) >= 8
    channels_first = len(shape) == 4 and shape[1] in (1, 2, 3, 4) and min(shape[2:]) >= 8
    return dtype.kind in "uif" and (channels_last or channels_first)

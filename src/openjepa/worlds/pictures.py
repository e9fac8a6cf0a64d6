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

SLACK = 1e-3
"""Share of the range by which floating numbers may lie outside of it, as rounding leaves them."""

PICTURE_BYTES, PICTURE_PIXELS = 2**26, 2**25
"""The largest encoded picture, and the most pixels in a frame."""


def from_array(array: NDArray, white: float | None = None) -> Pixels:
    """Frames `[n, H, W]`, `[n, H, W, C]` or `[n, C, H, W]`, integers in 0..255, or floats in 0..`white`.

    Args:
        white: 1 where it is `None`.

    Raises:
        UserError: another shape or range.
    """
    if array.ndim > 2 and np.prod(array.shape[1:], dtype=np.float64) > 4 * PICTURE_PIXELS:
        raise UserError(f"frames of shape {list(array.shape[1:])} are larger than {PICTURE_PIXELS:,} pixels")
    if array.ndim == 4 and array.dtype == np.uint8 and array.shape[1] <= 4 < array.shape[3]:
        return array
    if white is not None and array.dtype.kind == "f":
        low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
        if not (-SLACK * white <= low and high <= (1 + SLACK) * white):  # NaN is none either
            raise UserError(
                f"its frames have values from {low:g} to {high:g}, where white is {white:g}: set signal.white, or "
                "mend the frames"
            )
        array = np.clip(array / np.float32(white), 0, 1)
    return to_pixels(array).numpy()


def white_of(array: NDArray) -> float:
    """The value of white in frames of floating numbers, by some of them: 1 where none is above it, else 255.

    Raises:
        UserError: values that lie in neither range.
    """
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 1.0)
    if not (low >= -SLACK and high <= 255 * (1 + SLACK)):
        raise UserError(
            f"frames of floating numbers have values from {low:g} to {high:g}, neither in 0..1 nor in 0..255: say "
            "which value is white with --signal.white when training, or rescale them"
        )
    return 1.0 if high <= 1 + SLACK else 255.0


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

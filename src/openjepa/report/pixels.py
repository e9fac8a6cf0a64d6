"""Small pictures as data URIs, and the few transformations that they need. Knows arrays, not models."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

LARGEST = 144
"""Pictures with a longer side are shrunk to this many pixels."""
SMALL = 64
"""Pictures up to this side are kept lossless, and shown with hard pixels."""


def data_uri(image: Pixels) -> str:
    """uint8 `[H, W, 3 or 4]` as a picture inside the page: PNG while small, else WebP, at most `LARGEST` wide."""
    picture = Image.fromarray(image)
    picture.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if max(image.shape[:2]) <= SMALL:
        picture.save(buffer, "PNG", optimize=True)
        return _uri("image/png", buffer)
    picture.save(buffer, "WEBP", quality=82, method=4)
    return _uri("image/webp", buffer)


def film_uri(frames: Sequence[Pixels], seconds: float) -> str:
    """uint8 `[H, W, 3]` each as an animated GIF that plays over and over, in so many seconds, the last one held."""
    pictures = [Image.fromarray(frame).quantize(64, dither=Image.Dither.NONE) for frame in frames]
    each = max(
        20, round(1000 * seconds / len(frames) / 10) * 10
    )  # GIF counts hundredths; browsers slow 10 ms down
    buffer = io.BytesIO()
    pictures[0].save(
        buffer,
        "GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=[each] * (len(frames) - 1) + [1500],
        loop=0,
        optimize=True,
    )
    return _uri("image/gif", buffer)


def figure_uri(png: bytes) -> str:
    """A drawn PNG as a data URI."""
    return _uri("image/png", io.BytesIO(png))


def to_rgb(image: NDArray[np.floating] | Pixels) -> Pixels:
    """`[C, H, W]`, uint8 or float in 0..1, as uint8 `[H, W, 3]`; more than three channels show the first three."""
    values = (image if image.dtype == np.uint8 else np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    values = values[:3] if len(values) >= 3 else np.repeat(values[:1], 3, 0)
    return np.ascontiguousarray(values.transpose(1, 2, 0))


def only(image: Pixels, cells: Mask, elsewhere: int = 0) -> Pixels:
    """`[H, W, 4]`: the image where `cells` `[rows, columns]` are true, of opacity `elsewhere` (0..255) where not."""
    alpha = np.where(cells, 255, elsewhere).astype(np.uint8)
    return np.dstack([image, enlarge(alpha, (image.shape[0], image.shape[1]))])


def enlarge(grid: NDArray, size: tuple[int, int]) -> NDArray:
    """A grid `[rows, columns, ...]` as hard cells on `size` (height, width) pixels."""
    rows = np.arange(size[0]) * grid.shape[0] // size[0]
    columns = np.arange(size[1]) * grid.shape[1] // size[1]
    return grid[rows][:, columns]


def smooth(grid: Pixels, side: int) -> Pixels:
    """A small colour grid `[rows, columns, 3]` interpolated so that its longer side has `side` pixels."""
    scale = side / max(grid.shape[:2])
    size = (max(1, round(grid.shape[1] * scale)), max(1, round(grid.shape[0] * scale)))
    return np.asarray(Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC))


def outline(cells: Mask) -> str:
    """An SVG path around the true cells of `[rows, columns]`, one unit per cell."""
    padded = np.pad(cells, 1)
    parts = []
    for r, c in np.argwhere(cells).tolist():
        if not padded[r, c + 1]:
            parts.append(f"M{c} {r}h1")
        if not padded[r + 2, c + 1]:
            parts.append(f"M{c} {r + 1}h1")
        if not padded[r + 1, c]:
            parts.append(f"M{c} {r}v1")
        if not padded[r + 1, c + 2]:
            parts.append(f"M{c + 1} {r}v1")
    return "".join(parts)


GOOD, EVEN, BAD = (11, 122, 117), (244, 240, 230), (200, 80, 30)


def against_even(ratio: NDArray[np.floating]) -> Pixels:
    """Colours `[..., 3]` of ratios: 0 teal, 1 pale, 2 and more orange."""
    x = np.clip(np.nan_to_num(ratio, nan=2.0), 0, 2)[..., None]
    low, middle, high = (np.array(colour, float) for colour in (GOOD, EVEN, BAD))
    below, above = low + (middle - low) * x, middle + (high - middle) * (x - 1)
    return np.where(x < 1, below, above).round().astype(np.uint8)


def _uri(media: str, buffer: io.BytesIO) -> str:
    return f"data:{media};base64,{base64.b64encode(buffer.getvalue()).decode()}"

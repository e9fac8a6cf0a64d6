"""Small pictures as data URIs. Knows arrays, not models."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from PIL import Image

from openjepa.signals.pictures import Picture, Pixels

LARGEST = 144
"""Pictures with a longer side are shrunk to this many pixels ..."""
WIDEST = 1040
"""... and wide ones to this."""
SMALL = 64
"""Pictures up to this side are kept lossless, and shown with hard pixels."""


def data_uri(image: Pixels, largest: int = LARGEST) -> str:
    """uint8 `[H, W, 3 or 4]` as a picture inside the page: PNG while small, else WebP, no side above `largest`."""
    picture = Image.fromarray(image)
    picture.thumbnail((largest, largest), Image.Resampling.LANCZOS)
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


@dataclass(frozen=True)
class Drawn:
    """A picture as the page includes it: a data URI, an SVG element, or one over the other."""

    uri: str
    drawing: Markup
    wide: bool
    smooth: bool


def drawn(picture: Picture) -> Drawn:
    """A signal's picture inside the page."""
    uri = "" if picture.pixels is None else data_uri(picture.pixels, WIDEST if picture.wide else LARGEST)
    return Drawn(uri, Markup(picture.drawing), picture.wide, picture.smooth)


def _uri(media: str, buffer: io.BytesIO) -> str:
    return f"data:{media};base64,{base64.b64encode(buffer.getvalue()).decode()}"

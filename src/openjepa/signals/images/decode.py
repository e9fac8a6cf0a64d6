"""From an encoded image of any mode and size to uint8 pixels."""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""What Pillow may open: none of its formats that start another program (EPS runs Ghostscript)."""

BROKEN = (
    *(
        OSError,
        SyntaxError,
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
        AttributeError,
        RuntimeError,
    ),
    *(EOFError, MemoryError, struct.error, zlib.error, Image.DecompressionBombError),
)
"""What Pillow's readers are known to raise on damaged input."""

_UPRIGHT = {  # EXIF orientation -> what turns it upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Header:
    """What is known of an image before it is decoded; height and width are those of the upright image."""

    height: int
    width: int
    grey: bool


def inspect(file: Path | BinaryIO) -> Header:
    """Read the header and run Pillow's own check (for PNG: every chunk's checksum).

    Raises:
        One of `BROKEN`: not an image, or a damaged one. Some damage shows only in `decode`.
    """
    with Image.open(file, formats=FORMATS) as image:
        width, height = image.size[::-1] if _orientation(image) >= 5 else image.size
        header = Header(height, width, _is_grey(image))
        image.verify()
    return header


def decode(file: Path | BinaryIO, size: tuple[int, int], channels: int) -> Tensor:
    """uint8 `[channels, *size]`: upright, transparency over white, short side resized, centre cropped.

    Raises:
        One of `BROKEN`: not an image, or a damaged one.
    """
    with Image.open(file, formats=FORMATS) as image:
        turn = _UPRIGHT.get(_orientation(image))
        image.draft(
            None, (max(size), max(size))
        )  # JPEG: decode at 1/2, 1/4 or 1/8 where that is large enough
        return from_pil(image if turn is None else image.transpose(turn), size, channels)


def from_pil(image: Image.Image, size: tuple[int, int], channels: int) -> Tensor:
    """uint8 `[channels, *size]` of a Pillow image in any mode."""
    pixels = np.array(_flatten(image, channels))
    return fit(torch.from_numpy(pixels.reshape(*pixels.shape[:2], channels)).permute(2, 0, 1), size)


def header_of(image: Image.Image) -> Header:
    """The header of an image that is open already."""
    return Header(image.height, image.width, _is_grey(image))


def fit(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut the largest centred rectangle of `size`'s shape out of uint8 `[..., C, H, W]` and resize it to `size`.

    Bilinear with antialiasing: Pillow's own filter, at a sixth of its cost.
    """
    height, width = pixels.shape[-2:]
    if (height, width) == size:
        return pixels.contiguous()
    scale = min(height / size[0], width / size[1])
    rows, columns = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    top, left = (height - rows) // 2, (width - columns) // 2
    cut = pixels[..., top : top + rows, left : left + columns]
    batch = cut.reshape(-1, *cut.shape[-3:])
    out = F.interpolate(batch, size, mode="bilinear", antialias=True, align_corners=False)
    return out.reshape(*pixels.shape[:-2], *size)


def recolour(pixels: Tensor, channels: int) -> Tensor:
    """uint8 `[..., C, H, W]` with C = 1 (grey), 2 (grey, alpha), 3 or 4 (colour, alpha) to 1 or 3 channels."""
    if pixels.shape[-3] in (2, 4):
        colour, alpha = pixels[..., :-1, :, :].float(), pixels[..., -1:, :, :].float() / 255
        pixels = (colour * alpha + 255 * (1 - alpha)).round().to(torch.uint8)
    if pixels.shape[-3] == channels:
        return pixels
    if channels == 3:
        return pixels.expand(*pixels.shape[:-3], 3, *pixels.shape[-2:])
    luma = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    return (pixels.float() * luma).sum(-3, keepdim=True).round().to(torch.uint8)


def _flatten(image: Image.Image, channels: int) -> Image.Image:
    """Mode L or RGB."""
    if image.mode == "F":
        raise ValueError("32-bit float pixels have no known range: save as 8 or 16 bits")
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8))
    elif image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("L" if channels == 1 else "RGB")


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; a damaged EXIF block does not make a bad image."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # Pillow would decode the whole file to look for a late EXIF chunk
    try:
        value = image.getexif().get(0x0112, 1)
    except BROKEN:
        return 1
    return value if isinstance(value, int) else 1


def _is_grey(image: Image.Image) -> bool:
    if image.mode not in ("P", "PA"):
        return image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I")
    if image.palette is None:
        return False
    rawmode, data = image.palette.getdata()
    colours = np.frombuffer(bytes(data), np.uint8)
    if rawmode not in ("RGB", "RGB;L") or len(colours) % 3:
        return False
    colours = colours.reshape(-1, 3) if rawmode == "RGB" else colours.reshape(3, -1).T
    return bool((colours == colours[:, :1]).all())

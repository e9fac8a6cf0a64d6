"""From an encoded image of any mode and size to pixels: bytes, or float32 where an image has more than 8 bits."""

import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from openjepa.errors import UserError
from openjepa.signals.images.values import Kind, to_tensor

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

PIXELS = 80_000_000
"""The most that a picture may have: some seconds of decoding. Beyond a little more Pillow itself objects."""

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
class PictureHeader:
    """What is known of an image before it is decoded; height and width are those of the upright image.

    Attributes:
        kind: how its values are kept.
        cut: whether it has 16 bits a colour, of which Pillow reads 8.
    """

    height: int
    width: int
    channels: int
    kind: Kind = "bytes"
    cut: bool = False

    @property
    def grey(self) -> bool:
        return self.channels == 1


def inspect(file: Path | BinaryIO) -> PictureHeader:
    """Read the header and run Pillow's own check (for PNG: every chunk's checksum).

    Raises:
        One of `BROKEN`: not an image, or a damaged one. Some damage shows only in `decode`.
    """
    with Image.open(file, formats=FORMATS) as image:
        _check_pixels(image)
        header = header_of(image)
        if _orientation(image) >= 5:
            header = replace(header, height=image.width, width=image.height)
        image.verify()
    return header


def decode(file: Path | BinaryIO, size: tuple[int, int], channels: int) -> Tensor:
    """`[channels, *size]`: upright, transparency over white, short side resized, centre cropped.

    Raises:
        One of `BROKEN`: not an image, or a damaged one.
    """
    with Image.open(file, formats=FORMATS) as image:
        _check_pixels(image)
        turn = _UPRIGHT.get(_orientation(image))
        image.draft(
            None, (max(size), max(size))
        )  # JPEG: decode at 1/2, 1/4 or 1/8 where that is large enough
        return from_pil(image if turn is None else image.transpose(turn), size, channels)


def _check_pixels(image: Image.Image) -> None:
    if image.width * image.height > PIXELS:
        raise ValueError(f"{image.width * image.height:,} pixels are too many: at most {PIXELS:,}")


def from_pil(image: Image.Image, size: tuple[int, int], channels: int) -> Tensor:
    """`[channels, *size]` of a Pillow image in any mode: uint8, or float32 where it has more than 8 bits."""
    if _is_deep(image):
        try:
            pixels = to_tensor(np.asarray(image)[None])[0].float()
        except UserError as error:
            raise ValueError(str(error).replace("images 0 hold", "it holds").split(":")[0]) from None
    else:
        pixels = torch.from_numpy(np.array(_flatten(image, channels)))
    pixels = pixels.view(*pixels.shape[:2], -1).permute(2, 0, 1)
    return fit(recolour(pixels, channels), size)


def header_of(image: Image.Image) -> PictureHeader:
    """The header of an image that is open already."""
    cut = any(";16" in str(tile[3]) for tile in getattr(image, "tile", ())) and not _is_deep(image)
    kind: Kind = "numbers" if _is_deep(image) else "bytes"
    return PictureHeader(image.height, image.width, 1 if _is_grey(image) else 3, kind, cut)


def fit(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut the largest centred rectangle of `size`'s shape out of `[..., C, H, W]` and resize it to `size`.

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
    if min(size) == 1:  # torch takes a row of uint8 pixels for another layout, and stops
        batch = batch.float()
    out = F.interpolate(batch, size, mode="bilinear", antialias=True, align_corners=False)
    out = out.round().to(torch.uint8) if out.dtype != pixels.dtype == torch.uint8 else out
    return out.reshape(*pixels.shape[:-2], *size)


def recolour(pixels: Tensor, channels: int) -> Tensor:
    """`[..., C, H, W]` in another number of channels: grey as colour, colour as grey.

    Raises:
        ValueError: another change of channels, which nobody can mean.
    """
    given = pixels.shape[-3]
    if given == channels:
        return pixels
    if (given, channels) == (1, 3):
        return pixels.expand(*pixels.shape[:-3], 3, *pixels.shape[-2:])
    if (given, channels) == (3, 1):
        luma = torch.tensor([0.299, 0.587, 0.114], device=pixels.device)[:, None, None]
        grey = (pixels.float() * luma).sum(-3, keepdim=True)
        return grey.round().to(torch.uint8) if pixels.dtype == torch.uint8 else grey
    raise ValueError(f"{given} channels where {channels} are wanted")


def _is_deep(image: Image.Image) -> bool:
    """Whether its pixels are more than bytes."""
    return image.mode == "F" or image.mode.startswith("I")


def _flatten(image: Image.Image, channels: int) -> Image.Image:
    """Mode L or RGB."""
    if image.has_transparency_data:
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
        return image.mode in ("1", "L", "LA", "La") or _is_deep(image)
    if image.palette is None:
        return False
    rawmode, data = image.palette.getdata()
    colours = np.frombuffer(bytes(data), np.uint8)
    if rawmode not in ("RGB", "RGB;L") or len(colours) % 3:
        return False
    colours = colours.reshape(-1, 3) if rawmode == "RGB" else colours.reshape(3, -1).T
    return bool((colours == colours[:, :1]).all())

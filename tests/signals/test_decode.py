"""Any mode, any size, any damage."""

import contextlib
import io
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from openjepa.signals.images import decode as decode_module
from openjepa.signals.images.decode import BROKEN, decode, fit, inspect, recolour


def encoded(image: Image.Image, format: str, **options) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, format, **options)
    file.seek(0)
    return file


RED_ON_CLEAR = np.zeros((8, 8, 4), np.uint8)
RED_ON_CLEAR[:, :4] = (255, 0, 0, 255)


@pytest.mark.parametrize(
    ("image", "format", "grey", "left", "right"),
    [
        (Image.new("L", (8, 8), 90), "PNG", True, 90, 90),
        (Image.new("1", (8, 8), 1), "PNG", True, 255, 255),
        (Image.new("LA", (8, 8), (90, 0)), "PNG", True, 255, 255),
        (Image.new("RGB", (8, 8), (200, 200, 200)), "PNG", False, 200, 200),
        (Image.new("P", (8, 8), 3), "PNG", True, 0, 0),  # a palette of black
        (Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "TIFF", False, 255, 255),
        (Image.fromarray(RED_ON_CLEAR), "PNG", False, 76, 255),  # red's luma; clear shows white
        (Image.fromarray(RED_ON_CLEAR), "WEBP", False, 76, 255),
        (Image.fromarray(RED_ON_CLEAR).convert("P"), "GIF", False, 76, None),
    ],
    ids=lambda value: getattr(value, "mode", None),
)
def test_every_mode_decodes_to_grey(image, format, grey, left, right):
    file = encoded(image, format, **({"lossless": True} if format == "WEBP" else {}))
    header = inspect(file)
    assert (header.height, header.width) == (8, 8)
    if image.mode != "P":
        assert header.grey == grey
    file.seek(0)
    pixels = decode(file, (8, 8), 1)
    assert pixels.dtype == torch.uint8 and pixels.shape == (1, 8, 8)
    assert pixels[0, 4, 1] == left
    if right is not None:
        assert pixels[0, 4, 6] == right


def test_grey_palettes_are_known_from_the_header():
    ramp = Image.new("P", (8, 8), 3)
    ramp.putpalette([value for i in range(256) for value in (i, i, i)])
    colourful = Image.new("P", (8, 8), 3)
    colourful.putpalette([value for i in range(256) for value in (i, 0, i)])
    assert inspect(encoded(ramp, "PNG")).grey
    assert not inspect(encoded(colourful, "PNG")).grey


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_gives_the_same_upright_image(orientation):
    upright = np.zeros((6, 4, 3), np.uint8)
    upright[:3, :2], upright[3:, 2:] = (255, 0, 0), (0, 0, 255)
    transpose = Image.Transpose
    inverse = {
        2: transpose.FLIP_LEFT_RIGHT,
        3: transpose.ROTATE_180,
        4: transpose.FLIP_TOP_BOTTOM,
        5: transpose.TRANSPOSE,
        6: transpose.ROTATE_90,
        7: transpose.TRANSVERSE,
        8: transpose.ROTATE_270,
    }
    stored = Image.fromarray(upright)
    stored = stored.transpose(inverse[orientation]) if orientation in inverse else stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = encoded(stored, "PNG", exif=exif)
    header = inspect(file)
    assert (header.height, header.width) == (6, 4)
    file.seek(0)
    assert np.array_equal(decode(file, (6, 4), 3).permute(1, 2, 0), upright)


def test_the_short_side_is_resized_and_the_centre_kept():
    wide = np.zeros((20, 60), np.uint8)
    wide[:, 20:40] = 255
    for format in ("PNG", "BMP"):
        pixels = decode(encoded(Image.fromarray(wide), format), (10, 10), 1)
        assert pixels.shape == (1, 10, 10) and pixels.min() == 255


def test_large_jpegs_are_decoded_small_and_still_right():
    ramp = np.tile(np.linspace(0, 255, 1024).astype(np.uint8), (1024, 1))
    pixels = decode(encoded(Image.fromarray(ramp), "JPEG"), (32, 32), 1)
    expected = ramp.reshape(32, 32, 32, 32).mean((1, 3))
    assert np.abs(pixels[0].numpy() - expected).max() < 4


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (3, 1)])
def test_fit_to_a_single_pixel(size):
    pixels = torch.full((2, 3, 16, 16), 7, dtype=torch.uint8)
    assert torch.equal(fit(pixels, size), torch.full((2, 3, *size), 7, dtype=torch.uint8))


def test_fit_agrees_with_pillow():
    pixels = torch.randint(0, 256, (3, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    theirs = Image.fromarray(pixels.permute(1, 2, 0).numpy()).resize((16, 16), Image.Resampling.BILINEAR)
    ours = fit(pixels, (16, 16)).permute(1, 2, 0).numpy()
    assert np.abs(ours.astype(int) - np.asarray(theirs)).max() <= 1


def test_recolour_agrees_with_pillow():
    pixels = torch.randint(0, 256, (3, 9, 9), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    grey = Image.fromarray(pixels.permute(1, 2, 0).numpy()).convert("L")
    assert np.abs(recolour(pixels, 1)[0].int().numpy() - np.asarray(grey)).max() <= 1
    assert recolour(pixels[:1], 3).shape == (3, 9, 9)
    with pytest.raises(ValueError, match="4 channels where 3 are wanted"):
        recolour(torch.zeros(4, 9, 9), 3)


@pytest.mark.parametrize("big_endian", [False, True])
def test_more_than_8_bits_keep_their_values(big_endian):
    counts = np.random.default_rng(0).integers(62, 962, (9, 8)).astype(np.uint16)
    files = [encoded(Image.fromarray(counts), "PNG"), encoded(Image.fromarray(counts), "TIFF")]
    files += [encoded(Image.fromarray(counts.astype(np.int32)), "TIFF")]
    files += [encoded(Image.fromarray(counts.astype(np.float32)), "TIFF")]
    if big_endian:
        files = [encoded(Image.fromarray(counts.astype(">u2")), "TIFF")]
    for file in files:
        header = inspect(file)
        assert (header.channels, header.kind, header.cut) == (1, "numbers", False)
        file.seek(0)
        pixels = decode(file, (9, 8), 1)
        assert pixels.dtype == torch.float32
        assert torch.equal(pixels[0], torch.from_numpy(counts.astype(np.float32)))


def test_colours_of_16_bits_are_known_from_the_header():
    rows = b"".join(b"\0" + bytes(8 * 6) for _ in range(8))
    header = (8).to_bytes(4, "big") * 2 + bytes([16, 2, 0, 0, 0])
    data = b"\x89PNG\r\n\x1a\n"
    for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        data += len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")
    assert inspect(io.BytesIO(data)).cut


def test_too_many_pixels_are_refused_before_they_are_decoded(monkeypatch):
    monkeypatch.setattr(decode_module, "PIXELS", 99)
    for read in (inspect, lambda file: decode(file, (8, 8), 1)):
        with pytest.raises(BROKEN, match="100 pixels are too many: at most 99"):
            read(encoded(Image.new("L", (10, 10)), "PNG"))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damage_raises_only_what_is_declared():
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8))
    for format in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM"):
        whole = encoded(photo, format).getvalue()
        for trial in range(60):
            data = bytearray(whole[: rng.integers(1, len(whole))] if trial % 2 else whole)
            for at in rng.integers(0, len(data), 4):
                data[at] = rng.integers(0, 256)
            for read in (inspect, lambda file: decode(file, (8, 8), 3)):
                with contextlib.suppress(BROKEN):
                    read(io.BytesIO(bytes(data)))


def test_postscript_is_never_interpreted():
    with pytest.raises(BROKEN):
        inspect(io.BytesIO(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"))


def test_a_decompression_bomb_is_refused():
    header = b"IHDR" + (60000).to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00"
    chunk = b"\x00\x00\x00\x0d" + header + zlib.crc32(header).to_bytes(4, "big")
    with pytest.raises(BROKEN, match="bomb"):
        inspect(io.BytesIO(b"\x89PNG\r\n\x1a\n" + chunk + b"\x00\x00\x00\x00IDAT"))


def test_pixels_that_are_no_numbers_are_refused():
    with pytest.raises(BROKEN, match="NaN or infinite"):
        decode(encoded(Image.new("F", (8, 8), float("nan")), "TIFF"), (8, 8), 1)

"""Films for tests, encoded here: frame i shows a brightness of 6 * i at its left, and a bright upper half."""

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av")
HEIGHT, WIDTH = 48, 64


def picture(number: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A frame whose left quarter tells its number."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[: height // 2] = 200
    frame[:, : width // 4] = 6 * number
    return frame


def film(
    count: int = 30,
    *,
    rate: int = 25,
    turned: int = 0,
    codec: str = "libx264",
    container: str = "mp4",
    stamps: Sequence[int] | None = None,
    grey: bool = False,
    aspect: tuple[int, int] | None = None,
    sides: tuple[int, int] = (HEIGHT, WIDTH),
) -> bytes:
    """An encoded film; `stamps` in units of 1 / rate."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, options={"crf": "4"} if codec == "libx264" else {})
        stream.height, stream.width = sides
        stream.pix_fmt = "gray" if grey else "yuv420p"
        stream.codec_context.gop_size = 12
        if aspect:
            stream.codec_context.sample_aspect_ratio = Fraction(*aspect)
        if turned:
            stream.set_display_rotation(turned)
        for i in range(count):
            frame = av.VideoFrame.from_ndarray(picture(i % 40, *sides), format="rgb24")
            if stamps is not None:
                frame.pts = stamps[i]
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return file.getvalue()


def sound() -> bytes:
    """A film without pictures."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=16000)
        for i in range(4):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.rate, frame.pts = 16000, 1024 * i
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return file.getvalue()


def write(folder: Path, films: dict[str, bytes]) -> Path:
    """Files by their names below a folder."""
    for name, data in films.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def numbers(clip) -> list[int]:
    """Which frames a clip `[T, C, H, W]` shows, read off its lower left corner."""
    height, width = clip.shape[-2:]
    corner = clip[:, 0, 3 * height // 4 :, : width // 6].float().mean((1, 2))
    return (corner / 6).round().int().tolist()

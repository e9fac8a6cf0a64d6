"""From a file of sound to mono samples at a rate (extra `audio`: soundfile)."""

import math
import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from openjepa.errors import UserError

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".opus", ".oga", ".aiff", ".aif", ".au", ".w64", ".caf")
"""What files of sound are called."""
RATES = (1000, 768_000)
"""Samples a second that are taken for true."""
MOST_SECONDS = 48 * 3600.0
"""The longest recording that is read."""
MOST_CHANNELS = 64
SHORT = 0.98
"""A file with less than this part of the sound that its header promises is cut off."""
LOUD = 8.0
"""Floating-point samples beyond this are of whole numbers, most probably, that were not scaled to -1..1."""
KAISER = ("kaiser", 8.0)
"""Window of the filter that resamples: what it must take out is 80 dB lower."""
FILTER = 16
"""Samples at the lower of the two rates that the filter reaches to either side, at most."""
LARGEST_FACTOR = 10_000
"""Of the whole numbers whose ratio is that of two rates."""

OGG_PAGE = 27 + 255 + 255 * 255
"""Bytes of the largest page of an Ogg file."""

Source = Path | BinaryIO


@dataclass(frozen=True)
class SoundHeader:
    """What is known of a file before it is decoded: samples a second, how many a channel, channels."""

    rate: int
    samples: int
    channels: int

    @property
    def seconds(self) -> float:
        return self.samples / self.rate


def library() -> Any:
    """soundfile. Raises UserError where it is not installed."""
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: its libsndfile is missing
        raise UserError(
            f"files of sound are read by soundfile, which is not installed ({error}): pip install 'openjepa[audio]'"
        ) from None
    return soundfile


def broken() -> tuple[type[BaseException], ...]:
    """What soundfile is known to raise on damaged input."""
    return (library().SoundFileError, OSError, EOFError, ValueError, TypeError, RuntimeError, struct.error)


def inspect(source: Source) -> SoundHeader:
    """Raises one of `broken()`: no sound, empty, cut off, or a header that cannot be true."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            promised = _require_whole(file)
    else:
        promised = _require_whole(source)
    with _opened(source) as file:
        rate, channels, samples = int(file.samplerate), int(file.channels), int(file.frames)
    if not RATES[0] <= rate <= RATES[1]:
        raise ValueError(f"its header says {rate:,} samples a second")
    if channels > MOST_CHANNELS:
        raise ValueError(f"its header says {channels} channels")
    if samples < 1:
        raise ValueError("it is empty")
    if samples / rate > MOST_SECONDS:
        raise ValueError(f"its header says {samples / rate / 3600:,.0f} hours: cut it into parts")
    if promised is not None and samples < SHORT * promised:
        raise EOFError(f"it is cut off after {samples / rate:.2f} of {promised / rate:.2f} s")
    return SoundHeader(rate, samples, channels)


def decode(source: Source, rate: int, first: int = 0, count: int | None = None) -> NDArray[np.float32]:
    """Mono samples at `rate`, the mean of the channels: of the whole file, or `count` of them from number `first` on.

    A part is what it is in the whole.

    Raises:
        one of `broken()`: damaged, cut off, or of values that are no numbers.
    """
    with _opened(source) as file:
        own, total = int(file.samplerate), int(file.frames)
        begin, end, skip = 0, total, 0
        if count is not None:
            ratio = _ratio(own, rate)
            margin = FILTER * max(1, math.ceil(rate / own))
            steps = max(
                0, (first - margin) // ratio.numerator
            )  # of numerator samples here, denominator there
            begin, skip = steps * ratio.denominator, first - steps * ratio.numerator
            end = min(total, math.ceil((first + count + margin) / ratio))
            begin = min(begin, end)
        file.seek(begin)
        sound = file.read(end - begin, dtype="float32", always_2d=True)
    if len(sound) < SHORT * (end - begin):
        raise EOFError(f"it is cut off after {(begin + len(sound)) / own:.2f} of {total / own:.2f} s")
    found = resample(mono(sound), own, rate)
    return found if count is None else found[skip : skip + count]


def mono(sound: NDArray[Any]) -> NDArray[np.float32]:
    """`[S]` of `[S]` or `[S, channels]`: the mean of the channels; whole numbers scaled to -1..1.

    Raises:
        ValueError: another shape or type, values that are no numbers, or that are far beyond -1..1.
    """
    if sound.ndim not in (1, 2) or 0 in sound.shape:
        raise ValueError(
            f"an array of shape {list(sound.shape)} is no sound: give [samples] or [samples, channels]"
        )
    if sound.ndim == 2 and sound.shape[1] > MOST_CHANNELS:
        raise ValueError(f"it has {sound.shape[1]:,} channels: give [samples, channels]")
    if sound.dtype.kind == "i" and sound.dtype.itemsize in (2, 4):
        sound = sound / np.float64(2 ** (8 * sound.dtype.itemsize - 1))
    elif sound.dtype.kind != "f":
        raise ValueError(
            f"it is of type {sound.dtype}: give floats in -1..1, or whole numbers of 16 or 32 bits"
        )
    sound = sound.mean(1) if sound.ndim == 2 else sound
    sound = sound.astype(np.float32)
    if not np.isfinite(sound).all():
        raise ValueError("it holds values that are no numbers")
    if (loudest := float(np.abs(sound).max())) > LOUD:
        raise ValueError(f"its values reach {loudest:,.0f}: give floats in -1..1")
    return sound


def resample(sound: NDArray[np.float32], own: float, rate: int) -> NDArray[np.float32]:
    """Sound at `own` samples a second, at `rate`: band-limited, by a polyphase filter."""
    if own == rate:
        return sound
    from scipy.signal import resample_poly  # scipy comes with scikit-learn; not paid for on import

    ratio = _ratio(own, rate)
    return resample_poly(sound, ratio.numerator, ratio.denominator, window=KAISER).astype(np.float32)


def _ratio(own: float, rate: int) -> Fraction:
    """Samples at `rate` for one at `own`."""
    ratio = Fraction(rate) / Fraction(own).limit_denominator(1000)
    return ratio.limit_denominator(LARGEST_FACTOR)


def _opened(source: Source) -> Any:
    soundfile = library()
    if isinstance(source, Path):
        return soundfile.SoundFile(source)
    source.seek(0)
    return soundfile.SoundFile(source)


def _require_whole(source: BinaryIO) -> int | None:
    """Samples a channel that a WAV file's header promises. Raises EOFError for other files that are cut off."""
    promised = _promised(source)
    _require_whole_pages(source)
    _require_all_bytes(source)
    return promised


def _require_whole_pages(source: BinaryIO) -> None:
    """Raises EOFError for an Ogg file that ends within a page: libsndfile reads what is there and says nothing."""
    source.seek(0)
    if source.read(4) != b"OggS":
        return
    end = source.seek(0, 2)
    source.seek(max(0, end - OGG_PAGE))
    tail = source.read(OGG_PAGE)
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < 27 or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]]):
        raise EOFError("it is cut off within a page")


def _require_all_bytes(source: BinaryIO) -> None:
    """Refuse an AIFF, AU or W64 file that is shorter than its header says: libsndfile reads what is left."""
    size = source.seek(0, 2)
    source.seek(0)
    head, told = source.read(24), 0
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        told = 8 + struct.unpack(">I", head[4:8])[0]
    elif head[:4] == b".snd" and head[8:12] != b"\xff\xff\xff\xff":
        told = sum(struct.unpack(">II", head[4:12]))
    elif head[:4] == b"riff" and len(head) == 24:
        told = struct.unpack("<Q", head[16:])[0]
    if size < SHORT * told:
        raise EOFError(f"it is cut off: it has {size:,} of {told:,} bytes")


def _promised(source: BinaryIO) -> int | None:
    """Samples a channel that a WAV file's header promises: libsndfile believes the file's length instead."""
    source.seek(0)
    if (head := source.read(12))[:4] != b"RIFF" or head[8:] != b"WAVE":
        return None
    width = 0
    while len(chunk := source.read(8)) == 8:
        name, size = chunk[:4], struct.unpack("<I", chunk[4:])[0]
        if name == b"data":
            streamed = size in (0, 2**32 - 1) or size >= 2**31 - 1
            return None if streamed or not width else size // width
        if name == b"fmt ":
            body = source.read(size)
            width = struct.unpack("<H", body[12:14])[0]
            source.seek(size % 2, 1)
        else:
            source.seek(size + size % 2, 1)
    return None

"""EDF, EDF+ and BDF files: multi-channel recordings in records of a fixed time (Kemp et al. 1992, Kemp & Olivan 2003).

Read here and not through a library, since gaps between records (EDF+D) and channels of different rates must come out as
they are in the file: as pieces without a gap, and each channel at its own rate.
"""

import itertools
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openjepa.errors import UserError, warn

VOLTS = {"uv": 1.0, "µv": 1.0, "μv": 1.0, "mv": 1e3, "v": 1e6, "nv": 1e-3, "microv": 1.0, "uvolt": 1.0}
"""Microvolts in one of each unit."""
LATE = 0.5
"""A record that begins later than the one before it ends by more than this many samples comes after a gap."""
STAMP = re.compile(rb"\+?(-?\d+(?:\.\d+)?)(?:\x15(\d+(?:\.\d*)?))?\x14(.*)", re.DOTALL)


@dataclass(frozen=True)
class Channel:
    """One channel of a file.

    Attributes:
        name: its label.
        rate: samples a second.
        unit: of its numbers; `µV` where it is a voltage, else as the file has it.
        why_not: what is wrong with its scaling, empty where nothing is.
    """

    name: str
    rate: float
    unit: str
    why_not: str = ""


@dataclass(frozen=True, eq=False)
class EDFRun:
    """Records that follow one another without a gap.

    Attributes:
        start: seconds after the beginning of the file.
        values: float32 `[S]` per channel, at its own rate.
    """

    start: float
    values: list[NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class EDF:
    """A file's contents.

    Attributes:
        patient: the header's name of who was recorded.
        channels: all but those of annotations.
        runs: its pieces in time.
        annotations: seconds after the beginning, seconds that it lasts, text.
    """

    patient: str
    channels: list[Channel]
    runs: list[EDFRun]
    annotations: list[tuple[float, float, str]]


@dataclass(frozen=True)
class _Signal:
    """The header's columns of one channel."""

    label: str
    unit: str
    physical: tuple[float, float]
    digital: tuple[float, float]
    samples: int
    """In one record."""

    @property
    def notes(self) -> bool:
        return self.label in ("EDF Annotations", "BDF Annotations")


def read_edf(path: Path) -> EDF:
    """Read a whole file.

    A warning says where the file has another number of records than its header declares; what is there is read.

    Raises:
        UserError: not such a file, cut off within its header, or not whole records.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) < 256:
        raise UserError(
            f"{path}: {len(data)} bytes are no EDF file, whose header alone has 256: is it complete?"
        )
    wide = data[:1] == b"\xff"
    if not wide and data[:8].strip() != b"0":
        raise UserError(f"{path}: is no EDF or BDF file: it does not begin with a version of 0")
    head = data[:256].decode("latin-1")
    header, declared = _whole(path, head[184:192], "header bytes"), _whole(path, head[236:244], "records")
    seconds, count = (
        _number(path, head[244:252], "a record's duration"),
        _whole(path, head[252:256], "channels"),
    )
    if count < 1 or header != 256 * (count + 1) or len(data) < header:
        raise UserError(
            f"{path}: its header declares {count} channels in {header} bytes, and the file has {len(data)}: "
            "it is cut off or damaged"
        )
    signals = _signals(path, data[256:header].decode("latin-1"), count)
    kept = [signal for signal in signals if not signal.notes]
    if seconds <= 0 and kept:
        raise UserError(
            f"{path}: its header says that a record lasts {seconds:g} s, so it tells no sampling rate"
        )
    width, size = (3 if wide else 2), sum(signal.samples for signal in signals)
    found, rest = divmod(len(data) - header, size * width)
    _check_length(path, declared, found, rest)
    records = _integers(data[header : header + found * size * width], width).reshape(found, size)
    raw = np.frombuffer(data, np.uint8, found * size * width, header).reshape(found, size * width)
    ends = np.cumsum([signal.samples for signal in signals])
    columns = {i: slice(end - s.samples, end) for i, (s, end) in enumerate(zip(signals, ends, strict=True))}
    notes = [
        raw[:, columns[i].start * width : columns[i].stop * width] for i, s in enumerate(signals) if s.notes
    ]
    starts, annotations = _annotations(path, notes, found, seconds)
    if head[192:197] != "EDF+D" and head[192:197] != "BDF+D":
        starts = [k * seconds for k in range(found)]
    channels = [_channel(signal, seconds) for signal in kept]
    runs = []
    for first, last in _pieces(starts, seconds, max((c.rate for c in channels), default=1.0)):
        part = [records[first:last, columns[i]].reshape(-1) for i, s in enumerate(signals) if not s.notes]
        runs.append(EDFRun(starts[first], [_scaled(s, x) for s, x in zip(kept, part, strict=True)]))
    return EDF(head[8:88].strip(), channels, runs, annotations)


def _signals(path: Path, text: str, count: int) -> list[_Signal]:
    """The header's table, which is stored column by column."""
    at, columns = 0, []
    for width in (16, 80, 8, 8, 8, 8, 8, 80, 8, 32):
        columns.append([text[at + i * width : at + (i + 1) * width].strip() for i in range(count)])
        at += count * width
    labels, _, units, low, high, least, most, _, samples, _ = columns
    found = []
    for i, label in enumerate(labels):
        note = label in ("EDF Annotations", "BDF Annotations")
        limits = [
            0.0 if note else _number(path, column[i], f"a limit of {label}")
            for column in (low, high, least, most)
        ]
        number = _whole(path, samples[i], f"samples of {label} in a record")
        if number < 1:
            raise UserError(f"{path}: its header gives {label} {number} samples in a record: it is damaged")
        found.append(_Signal(label, units[i], (limits[0], limits[1]), (limits[2], limits[3]), number))
    return found


def _channel(signal: _Signal, seconds: float) -> Channel:
    why = ""
    if signal.physical[0] == signal.physical[1]:
        why = f"its header gives one physical value, {signal.physical[0]:g}, as its least and its largest"
    elif signal.digital[0] == signal.digital[1]:
        why = f"its header gives one digital value, {signal.digital[0]:g}, as its least and its largest"
    volts = signal.unit.lower().strip() in VOLTS
    return Channel(signal.label, signal.samples / seconds, "µV" if volts else signal.unit, why)


def _scaled(signal: _Signal, digits: NDArray[np.int32]) -> NDArray[np.float32]:
    """Physical values in microvolts, or in the file's unit where that is no voltage."""
    (low, high), (least, most) = signal.physical, signal.digital
    gain = (high - low) / (most - least) if most != least else 0.0
    unit = VOLTS.get(signal.unit.lower().strip(), 1.0)
    return ((digits - least) * (gain * unit) + low * unit).astype(np.float32)


def _integers(data: bytes, width: int) -> NDArray[np.int32]:
    """Little-endian whole numbers of 2 or 3 bytes."""
    if width == 2:
        return np.frombuffer(data, "<i2").astype(np.int32)
    parts = np.frombuffer(data, np.uint8).reshape(-1, 3)
    whole = np.zeros((len(parts), 4), np.uint8)
    whole[:, 1:] = parts
    return whole.view("<i4")[:, 0] >> 8


def _check_length(path: Path, declared: int, found: int, rest: int) -> None:
    if found == 0:
        raise UserError(f"{path}: it holds no whole record: it is cut off or damaged")
    if declared == found and rest == 0:
        return
    if declared == -1 and rest == 0:  # the standard's word for "not known while recording"
        return
    more = f" and {rest:,} bytes of another" if rest else ""
    warn(
        f"{path}: its header declares {declared:,} records, and it holds {found:,}{more}: whole records are read"
    )


def _annotations(
    path: Path, columns: list[NDArray[np.uint8]], records: int, seconds: float
) -> tuple[list[float], list[tuple[float, float, str]]]:
    """When each record begins, and the annotations of all; times count from the first record.

    The first entry of a record's first annotation channel is a time stamp without text.
    """
    if not columns:
        return [k * seconds for k in range(records)], []
    starts, found = [], []
    for k in range(records):
        for i, column in enumerate(columns):
            entries = [part for part in column[k].tobytes().split(b"\x00") if part]
            stamps = [match for part in entries if (match := STAMP.fullmatch(part))]
            if i == 0:
                if not stamps:
                    raise UserError(
                        f"{path}: record {k + 1} has no time stamp where EDF+ puts it: the file is damaged (were its "
                        "line endings converted?)"
                    )
                starts.append(float(stamps[0][1]))
            for stamp in stamps:
                texts = [t.decode("utf-8", "replace").strip() for t in stamp[3].split(b"\x14")]
                found += [(float(stamp[1]), float(stamp[2] or 0), text) for text in texts if text]
    first = starts[0]
    return [start - first for start in starts], sorted((a - first, b, text) for a, b, text in found)


def _pieces(starts: list[float], seconds: float, rate: float) -> list[tuple[int, int]]:
    """First record and the one after the last of each run without a gap."""
    late = LATE / rate
    cuts = [k for k in range(1, len(starts)) if abs(starts[k] - starts[k - 1] - seconds) > late]
    edges = [0, *cuts, len(starts)]
    return list(itertools.pairwise(edges))


def _number(path: Path, text: str, what: str) -> float:
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise UserError(f"{path}: its header has {text.strip()!r} for {what}: the file is damaged")
    return value


def _whole(path: Path, text: str, what: str) -> int:
    return int(_number(path, text, what))

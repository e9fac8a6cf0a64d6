"""EDF files written byte by byte, so that a test says what is in them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass
class Channel:
    name: str
    values: np.ndarray
    """Physical values, of all records."""
    rate: int = 100
    unit: str = "uV"
    physical: tuple[float, float] = (-1000.0, 1000.0)


@dataclass
class File:
    channels: Sequence[Channel]
    starts: Sequence[float] | None = None
    """Of records; makes it an EDF+ file."""
    notes: Sequence[tuple[float, float, str]] = ()
    patient: str = "X X X X"
    continuous: bool = True
    declared: int | None = None
    wide: bool = False
    """BDF: three bytes a sample."""
    tail: bytes = field(default=b"")


NOTE_BYTES = 60


def write(path: Path, file: File) -> Path:
    width = 3 if file.wide else 2
    top = 2 ** (8 * width - 1)
    records = len(file.channels[0].values) // file.channels[0].rate
    noted = file.starts is not None
    names = [c.name for c in file.channels] + (
        ["BDF Annotations" if file.wide else "EDF Annotations"] if noted else []
    )
    samples = [c.rate for c in file.channels] + ([NOTE_BYTES // width] if noted else [])
    units = [c.unit for c in file.channels] + [""] * noted
    low = [c.physical[0] for c in file.channels] + [-1] * noted
    high = [c.physical[1] for c in file.channels] + [1] * noted
    count = len(names)
    kind = ("EDF+C" if file.continuous else "EDF+D") if noted else ""
    kind = kind.replace("EDF", "BDF") if file.wide else kind
    head = ("\xffBIOSEMI" if file.wide else "0       ").ljust(8)
    head += file.patient.ljust(80) + "X".ljust(80) + "01.01.0001.00.00"
    head += str(256 * (count + 1)).ljust(8) + kind.ljust(44)
    head += (
        str(records if file.declared is None else file.declared).ljust(8) + "1".ljust(8) + str(count).ljust(4)
    )
    columns = (
        (names, 16),
        ([""] * count, 80),
        (units, 8),
        ([f"{v:g}" for v in low], 8),
        ([f"{v:g}" for v in high], 8),
        ([-top] * count, 8),
        ([top - 1] * count, 8),
        ([""] * count, 80),
        (samples, 8),
        ([""] * count, 32),
    )
    text = head + "".join(str(value)[:size].ljust(size) for values, size in columns for value in values)
    data = bytearray(text.encode("latin-1"))
    for k in range(records):
        for channel in file.channels:
            a, b = channel.physical
            part = channel.values[k * channel.rate : (k + 1) * channel.rate]
            share = (part - a) / (b - a) if a != b else np.zeros(len(part))
            digits = np.clip(np.round(share * (2 * top - 1) - top), -top, top - 1).astype("<i4")
            data += digits.view(np.uint8).reshape(-1, 4)[:, :width].tobytes()
        if noted:
            entry = f"+{file.starts[k]:g}\x14\x14\x00"
            for start, duration, word in file.notes if k == 0 else ():
                entry += f"+{start:g}\x15{duration:g}\x14{word}\x14\x00"
            data += entry.encode().ljust(NOTE_BYTES, b"\x00")
    path.write_bytes(bytes(data) + file.tail)
    return path

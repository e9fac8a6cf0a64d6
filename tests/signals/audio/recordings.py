"""Files of sound for tests."""

from pathlib import Path

import numpy as np
import pytest

soundfile = pytest.importorskip("soundfile", reason="needs soundfile (pip install openjepa[audio])")


def tone(seconds: float = 1.0, rate: int = 16_000, hertz: float = 1000.0, loud: float = 0.5) -> np.ndarray:
    return (loud * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write(path: Path, sound: np.ndarray, rate: int = 16_000, subtype: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, rate, subtype=subtype)
    return path


def folder(root: Path, count: int = 4, seconds: float = 0.5) -> Path:
    """Two classes, each of `count` recordings of its own pitch."""
    for name, hertz in (("high", 2000.0), ("low", 300.0)):
        for i in range(count):
            write(
                root / name / f"{i % 2 + 1}-{name}{i // 2}-{i}.wav",
                tone(seconds + 0.1 * i, hertz=hertz + 10 * i),
            )
    return root

"""Clips of sound as they are trained on."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from openjepa.signals.base import Batch


@dataclass(frozen=True, eq=False)
class Sounds(Batch):
    """A batch of clips: their spectrograms, or the sound itself, of which `AudioSignal.spectrograms` makes them.

    Attributes:
        valid: bool `[B, T]`, the frames in which there is sound; after them a short clip is padded.
        mels: float32 `[B, bands, T]`, logarithms of power.
        waves: float32 `[B, samples]` at the signal's rate, what lies under the windows of T frames.
    """

    valid: Tensor
    mels: Tensor | None = None
    waves: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Waves:
    """Recordings in memory, and what is known of them.

    Attributes:
        values: an array `[N, S]`, or a list of arrays `[S]` or `[S, channels]` of any length; floats in -1..1, or whole
            numbers of 16 or 32 bits.
        rate: samples a second, of all or of each.
        labels: `[N]`, whole numbers (-1 for none) or names; `None`: nothing is known.
        groups: `[N]`, who or what each is of (speaker, place, recording), numbers or names: no split cuts a group.
        folds: `[N]` whole numbers, where the recordings come with parts into which they are to be split.
    """

    values: Any
    rate: Any
    labels: Any = None
    groups: Any = None
    folds: Any = None

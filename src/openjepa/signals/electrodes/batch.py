"""Windows of recordings as they are trained on, and what they are cut by."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from openjepa.signals.base import Batch
from openjepa.signals.electrodes.alignment import Alignment


@dataclass(frozen=True, eq=False)
class Recordings(Batch):
    """A batch of windows of recordings.

    Attributes:
        values: float32 `[B, C, S]`, microvolts.
        places: float32 `[B, C, 3]`, where each electrode is on a head of radius 1 (right, front, up).
        valid: bool `[B, C]`, which channels were recorded; of others the values are zero.
    """

    values: Tensor
    places: Tensor
    valid: Tensor


class Cut(Protocol):
    """How recordings become windows; `openjepa.signals.electrodes.ElectrodeSignal` says it."""

    @property
    def rate(self) -> float: ...
    @property
    def band(self) -> tuple[float, float] | None: ...
    @property
    def samples(self) -> int: ...
    @property
    def windows(self) -> str: ...
    @property
    def offset(self) -> float: ...
    @property
    def channels(self) -> tuple[str, ...]: ...
    @property
    def align(self) -> Alignment: ...
    @property
    def subject(self) -> str: ...

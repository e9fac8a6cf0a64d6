"""Series as they are trained on, and what they are cut by."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from openjepa.signals.base import Batch


@dataclass(frozen=True, eq=False)
class SeriesBatch(Batch):
    """A batch of series, or of windows of longer ones, in the data's own units.

    Attributes:
        values: float32 `[B, C, T]`; where nothing was measured, or after its end, a number that stands in for it.
        valid: bool `[B, C, T]`, what was measured; `None`: all.
        channel: int64 `[B, 1]`, which of the data's channels a sample is of, where each channel is a sample (C = 1).
    """

    values: Tensor
    valid: Tensor | None = None
    channel: Tensor | None = None


class SeriesCut(Protocol):
    """How series become samples; `openjepa.signals.series.SeriesSignal` says it."""

    @property
    def length(self) -> int: ...
    @property
    def patch(self) -> int: ...
    @property
    def tokens(self) -> str: ...
    @property
    def stride(self) -> int: ...
    @property
    def season(self) -> int: ...
    @property
    def parts(self) -> tuple[float, float, float] | None: ...
    @property
    def columns(self) -> tuple[str, ...]: ...
    @property
    def by(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def mean(self) -> tuple[float, ...]: ...
    @property
    def std(self) -> tuple[float, ...]: ...

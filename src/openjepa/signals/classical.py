"""What a user can have of samples without training: how much of it, and features with nothing left to fit."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from openjepa.errors import UserError

Level = Literal["none", "quick", "all"]
"""Which classical features: none, those that take seconds, or all."""
Rows = NDArray[np.int64]


def of_level(level: str, quick: Sequence[Any], slow: Sequence[Any]) -> list[Any]:
    """The features of that `Level`.

    Raises:
        UserError: no such level.
    """
    if level not in get_args(Level):
        raise UserError(f"unknown classical features {level!r}; choose from {', '.join(get_args(Level))}")
    return [] if level == "none" else list(quick) if level == "quick" else [*quick, *slow]


def _whole(batch: Any) -> tuple[Any, ...]:
    return (batch,)


@dataclass(frozen=True)
class FixedFeatures:
    """A `FeatureSource` of features with nothing to fit: functions of a batch.

    Attributes:
        functions: by pooling, of what is given, to `[b, dims]`.
        poolings: their dimensions.
        given: what the functions are given of a batch that `samples.read` gives, made once for all of them.
        batch_size: samples read at a time.
    """

    name: str
    functions: Mapping[str, Callable[..., Tensor]]
    poolings: dict[str, int]
    given: Callable[[Any], tuple[Any, ...]] = _whole
    batch_size: int = 256
    notes: Sequence[str] = ()

    @property
    def default(self) -> str:
        return next(iter(self.poolings))

    def stream(
        self, samples: Any, rows: Rows, names: Sequence[str]
    ) -> Iterator[tuple[Rows, dict[str, Tensor]]]:
        """Batches of float32 features by name."""
        for start in range(0, len(rows), self.batch_size):
            part = rows[start : start + self.batch_size]
            given = self.given(samples.read(part))
            yield part, {name: self.functions[name](*given).float().cpu() for name in names}

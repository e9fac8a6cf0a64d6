"""Sets whose files may be damaged: what is left out is named, what fails later is replaced, always by the same one."""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from openjepa.common.contents import Contents
from openjepa.signals.base import Labels
from openjepa.signals.parts import changed
from openjepa.signals.readers.folders import Names
from openjepa.signals.readers.skipped import Skipped, say_skipped

FINGERPRINTED = 64
"""Samples whose pixels enter a set's fingerprint."""

Indices = Sequence[int] | np.ndarray | Tensor


class Holding(Protocol):
    """What holds or decodes the samples of a set and of its parts."""

    def __len__(self) -> int: ...

    def damaged(self) -> list[Skipped]:
        """Files that proved damaged while they were read, in any process."""
        ...

    def contents(self) -> Contents | None:
        """A checksum over everything, if there is a cheap one."""
        ...


class SkippingSet:
    """Samples of one shape, map-style; a subclass reads them.

    Attributes:
        name: where they come from, for messages and reports.
        labels: of every sample; `None` where none has one.
        splits: what the source offers.

    Args:
        held: where the samples are, by row.
        skipped: files left out when the set was opened.
        keys: what each row of `held` is called in its source; `None`: by its number.
        rows: those of `held` that are in the set; `None`: all.
    """

    noun: ClassVar[str] = "samples"

    def __init__(
        self,
        name: str,
        held: Holding,
        *,
        labels: Labels | None = None,
        splits: tuple[str, ...] = ("train",),
        skipped: Sequence[Skipped] = (),
        keys: Names | None = None,
        rows: Tensor | None = None,
    ) -> None:
        self.name, self.labels, self.splits = name, labels, splits
        self._held, self._skipped, self._told, self._keys = held, list(skipped), len(skipped), keys
        self._rows = torch.arange(len(held)) if rows is None else rows

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def skipped(self) -> list[Skipped]:
        """Files left out when the set was opened, and those that `read` has found damaged since, in any process."""
        return self._skipped + self._held.damaged()

    def tell(self) -> None:
        """Warn about files that `read` has found damaged since the set was opened or this was last called."""
        skipped = self.skipped
        if len(skipped) > self._told:
            say_skipped(self.name, skipped[self._told :], len(self), self.noun)
            self._told = len(skipped)

    def key(self, index: int) -> str:
        """What a sample is called in its source: its path, its name in a shard, or its number in an array."""
        row = int(self._rows[index])
        return str(row) if self._keys is None else self._keys[row]

    def subset(self, indices: Indices) -> Self:
        """The samples at `indices`, in that order; shares what holds them."""
        chosen = torch.as_tensor(indices, dtype=torch.long)
        labels = None if self.labels is None else self.labels[chosen.numpy()]
        return changed(self, _rows=self._rows.index_select(0, chosen), labels=labels)

    def relabelled(self, labels: Labels | None) -> Self:
        """The same samples with other labels."""
        return changed(self, labels=labels)

    def _stand_ins(self, index: int) -> Iterator[int]:
        """Rows to try for a sample, its own first: where that cannot be read, the next one of the same class.

        Of samples with numbers beside them, the one with the nearest numbers.
        """
        yield int(self._rows[index])
        others = np.r_[index + 1 : len(self), :index]
        values = None if self.labels is None else self.labels.values
        if values is not None and values.dtype.kind == "f":
            away = np.abs(values[others] - values[index]).reshape(len(others), -1).sum(1)
            others = others[np.argsort(away, kind="stable")]
        elif values is not None:
            others = others[values[others] == values[index]]
        yield from self._rows[torch.from_numpy(others)].tolist()

    def _fingerprinted(self) -> np.ndarray:
        """Positions of the samples whose contents tell the set from others."""
        return np.unique(np.linspace(0, len(self) - 1, FINGERPRINTED).astype(np.int64))

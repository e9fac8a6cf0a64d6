"""The values in a set of images: their range, how many levels they have, mean and spread of each channel."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from openjepa.signals.base import LEAST_HELD_OUT, Samples, hold_out
from openjepa.signals.images.values import Limits

MEASURED = 2000
"""Images from which mean and spread are measured, at most."""
DECODED = 500
"""The same, where they must be decoded."""
PART = 2**24
"""Values that are looked at together."""
COUNTED = 2**16
"""Levels that are counted, at most."""
SEEN = 2**18
"""Values of each part among which levels are counted."""
FAINT = 64
"""Bytes below this use so little of 0..255 that they are scaled by their own range."""


class UniformImages(Samples, Protocol):
    """A set of images of one shape."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows, columns."""
        ...


@dataclass(frozen=True)
class Statistics:
    """Statistics of all values in a set that lies in memory, of a sample of another.

    Attributes:
        low, high: the smallest and the largest value.
        bulk: between which all but 0.1 % at either end lie.
        levels: how many different values there are; more than `COUNTED` are not counted.
        mean, std: of each channel of up to 2,000 of the images that are trained on, in the data's own units.
        constant: numbers of images in which all values are the same.
        whole: whether the values are bytes.
    """

    low: float
    high: float
    bulk: tuple[float, float]
    levels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    constant: tuple[int, ...]
    whole: bool

    @property
    def limits(self) -> Limits | None:
        """What a model of these images scales by: `None` for bytes and for fractions, else the range."""
        if self.high <= self.low or (self.whole and self.high >= FAINT):
            return None
        return None if not self.whole and self.low >= 0 and self.high <= 1 else (self.low, self.high)

    def describe(self) -> dict[str, Any]:
        """Plain data."""
        levels = f"more than {COUNTED}" if self.levels > COUNTED else self.levels
        return {"low": self.low, "high": self.high, "levels": levels}


def measure(images: UniformImages) -> Statistics:
    """Look at a set, at all of it where it lies in memory."""
    every = torch.arange(len(images)) if images.in_memory else _some(torch.arange(len(images)), DECODED)
    low, high, found, constant, whole = float("inf"), float("-inf"), torch.empty(0), [], True
    seen: list[Tensor] = []
    for rows in _parts(every, images):
        batch = images.read(rows)
        whole = batch.dtype == torch.uint8
        least, most = batch.flatten(1).aminmax(dim=1)
        low, high = min(low, float(least.min())), max(high, float(most.max()))
        constant += rows[least == most].tolist()
        if len(found) <= COUNTED:
            seen.append(batch.flatten()[:: max(1, batch.numel() // SEEN)].float())
            found = torch.cat([found, seen[-1].unique()]).unique()
    bulk = torch.cat(seen)[: 2**23].quantile(torch.tensor([0.001, 0.999])).tolist()
    mean, std = _moments(images)
    return Statistics(low, high, (bulk[0], bulk[1]), len(found), mean, std, tuple(constant), whole)


def _moments(images: UniformImages) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, in float64, of a sample of what is trained on."""
    rows = hold_out(images)[0] if len(images) >= 2 * LEAST_HELD_OUT else torch.arange(len(images))
    some = _some(rows, MEASURED if images.in_memory else DECODED)
    parts = [_sums(images.read(rows)) for rows in _parts(some, images)]
    count = sum(n for n, _, _ in parts)
    mean = torch.stack([total for _, total, _ in parts]).sum(0) / count
    # Chan et al.'s formula: the spread within the parts, and of their means
    within = torch.stack([spread + n * (total / n - mean).square() for n, total, spread in parts]).sum(0)
    return tuple(mean.tolist()), tuple((within / max(1, count - 1)).sqrt().tolist())


def _sums(batch: Tensor) -> tuple[int, Tensor, Tensor]:
    """Number of values a channel, their sum, and their squared distance from their mean, per channel."""
    values = batch.transpose(0, 1).flatten(1).double()
    total = values.sum(1)
    return values.shape[1], total, (values - total[:, None] / values.shape[1]).square().sum(1)


def _some(rows: Tensor, most: int) -> Tensor:
    return rows[torch.linspace(0, len(rows) - 1, min(most, len(rows))).long()]


def _parts(rows: Tensor, images: UniformImages) -> tuple[Tensor, ...]:
    channels, height, width = images.shape
    return rows.split(max(1, PART // (channels * height * width)))

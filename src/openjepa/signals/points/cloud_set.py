"""A set of point clouds, of each of which some points are drawn as it is read."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openjepa.common.contents import Contents
from openjepa.common.rng import Rng
from openjepa.errors import UserError, warn
from openjepa.signals.base import Labels
from openjepa.signals.parts import changed, digest_labels, number_of
from openjepa.signals.points.batch import Clouds
from openjepa.signals.readers.skipped import Skipped

Indices = Sequence[int] | np.ndarray | Tensor

MOST = 8192
"""Points that are kept of a cloud, drawn once; of more, a training step would see no other ones."""
CUTS = 4
"""Draws of a cloud's points that are offered as its cuts, at most."""
FLAT = 1e-4
"""Thickness over width below which a cloud is flat."""


@dataclass(frozen=True, eq=False)
class OneCloud:
    """A cloud as it comes: points `[P, 3]`, a class, whom or what it is of."""

    name: str
    points: NDArray[np.floating]
    label: str | None = None
    group: str = ""


@dataclass(frozen=True, eq=False)
class HeldClouds:
    """All points of a set, float32 `[S, 3]`, cloud after cloud, each shuffled once; `offset` int64 `[n + 1]`."""

    points: Tensor
    offset: NDArray[np.int64]
    keys: tuple[str, ...]


class CloudSet:
    """Clouds, map-style; each lies about its middle, its farthest point 1 away.

    Attributes:
        count: points of a sample.
    """

    noun: ClassVar[str] = "clouds"
    in_memory: ClassVar[bool] = True

    def __init__(
        self,
        name: str,
        held: HeldClouds,
        rows: NDArray[np.int64],
        count: int,
        labels: Labels | None,
        skipped: Sequence[Skipped] = (),
    ) -> None:
        self.name, self.count, self.labels = name, count, labels
        self._held, self._rows, self._skipped = held, rows, list(skipped)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def shape(self) -> tuple[int, int]:
        return self.count, 3

    def key(self, index: int) -> str:
        """The cloud's file, or its number in an array."""
        return self._held.keys[self._rows[index]]

    def read(self, indices: Indices, rng: Rng | None = None) -> Clouds:
        """`count` points of each cloud, with `rng` drawn by it, else always the same; of smaller ones all, in turns."""
        first, size = self._bounds(indices)
        if rng is None:
            return self._take(first, torch.arange(self.count) % size[:, None])
        most = int(np.diff(self._held.offset).max())  # of all clouds, so that every process draws alike
        order = rng.uniform(len(first), most)
        order = order.masked_fill(torch.arange(order.shape[1]) >= size[:, None], 2.0)
        drawn = order.argsort(1)  # of each cloud its own points first, at random
        return self._take(first, drawn.gather(1, torch.arange(self.count) % size[:, None]))

    def cuts(self, indices: Indices) -> list[Clouds]:
        """Several draws of each cloud's points, none of which they share as far as it has enough."""
        first, size = self._bounds(indices)
        several = min(CUTS, max(1, int(size.min()) // self.count))
        steps = torch.arange(self.count)
        return [self._take(first, (steps + i * self.count) % size[:, None]) for i in range(several)]

    def _bounds(self, indices: Indices) -> tuple[Tensor, Tensor]:
        """Where the clouds begin, and how many points they have."""
        rows = self._rows[torch.as_tensor(indices, dtype=torch.long).numpy()]
        first, end = self._held.offset[rows], self._held.offset[rows + 1]
        return torch.from_numpy(first), torch.from_numpy(end - first)

    def _take(self, first: Tensor, which: Tensor) -> Clouds:
        return Clouds(self._held.points[first[:, None] + which])

    def subset(self, indices: Indices) -> "CloudSet":
        """The clouds at `indices`, in that order; shares the points."""
        rows = torch.as_tensor(indices, dtype=torch.long).numpy()
        labels = None if self.labels is None else self.labels[rows]
        return changed(self, _rows=self._rows[rows], labels=labels)

    def describe(self) -> dict[str, Any]:
        """Plain data for `run.json`."""
        contents = self._contents()
        sizes = np.diff(self._held.offset)[self._rows]
        return {
            "name": self.name,
            self.noun: len(self),
            "shape": list(self.shape),
            "points": [int(sizes.min()), int(sizes.max())],
            "fingerprint": contents["sha256"],
            "contents": contents,
            "skipped": [[one.name, one.reason] for one in self._skipped],
        }

    def _contents(self) -> Contents:
        digest = hashlib.sha256(self._held.points.numpy().tobytes())
        digest.update(self._held.offset.tobytes() + self._rows.tobytes())
        digest_labels(digest, self.labels)
        return {"covers": "every point", "sha256": digest.hexdigest()}


def cloud_set(name: str, found: Sequence[OneCloud], count: int, skipped: Sequence[Skipped] = ()) -> CloudSet:
    """Clouds about their middle and of radius 1.

    Raises:
        UserError: a cloud whose points are all one.
    """
    clouds = [settled(one) for one in found]
    _say(name, found, clouds)
    offset = np.cumsum([0, *map(len, clouds)])
    points = torch.from_numpy(np.concatenate(clouds))
    held = HeldClouds(points, offset, tuple(one.name for one in found))
    classes = sorted({one.label for one in found if one.label is not None})
    labels = None
    if classes:
        number = {label: i for i, label in enumerate(classes)}
        values = np.array([-1 if one.label is None else number[one.label] for one in found], np.int64)
        groups = None
        if any(one.group for one in found):
            groups = np.array([number_of(one.group or f"{name}: {one.name}") for one in found], np.int64)
        labels = Labels(values, tuple(classes), groups)
    return CloudSet(name, held, np.arange(len(found)), count, labels, skipped)


def settled(one: OneCloud) -> NDArray[np.float32]:
    """A cloud about its middle, of radius 1, at most `MOST` points in an order drawn by its name alone.

    Raises:
        UserError: no point is a number, or all are one.
    """
    points = np.asarray(one.points, np.float64)
    points = points[np.isfinite(points).all(1)]
    if not len(points):
        raise UserError(f"{one.name}: none of its {len(one.points):,} points is a number")
    points = points - points.mean(0)
    radius = float(np.linalg.norm(points, axis=1).max())
    size = float(np.abs(one.points[np.isfinite(one.points).all(1)]).max())
    if not radius > 1e-12 * max(size, 1e-300):
        what = (
            "it is a single point" if len(points) == 1 else f"its {len(points):,} points are all in one place"
        )
        raise UserError(f"{one.name}: {what}")
    random = np.random.default_rng(number_of(str(len(points))))
    return (points / radius)[random.permutation(len(points))[:MOST]].astype(np.float32)


def _say(name: str, found: Sequence[OneCloud], clouds: Sequence[NDArray[np.float32]]) -> None:
    flat = [one.name for one, points in zip(found, clouds, strict=True) if _thickness(points) < FLAT]
    if flat:
        warn(
            f"{name}: {len(flat):,} of {len(found):,} clouds are flat, all points in a plane: {', '.join(flat[:3])}"
        )
    unknown = sum(int((~np.isfinite(one.points).all(1)).sum()) for one in found)
    if unknown:
        warn(f"{name}: {unknown:,} points whose places are no numbers are left out")


def _thickness(points: NDArray[np.float32]) -> float:
    """Smallest over largest spread, as deviations along the principal axes."""
    some = points[:1024] - points[:1024].mean(0)
    power = np.linalg.eigvalsh(some.T @ some)
    return float(np.sqrt(max(power[0], 0) / max(power[-1], 1e-12)))

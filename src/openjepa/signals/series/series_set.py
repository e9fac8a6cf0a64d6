"""A set of series, or of windows of longer ones, cut at random or side by side as they are read."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openjepa.common.contents import Contents
from openjepa.common.rng import Rng
from openjepa.errors import UserError, warn
from openjepa.signals.base import Labels
from openjepa.signals.parts import changed, drawn_between, number_of
from openjepa.signals.readers.skipped import Skipped
from openjepa.signals.series.batch import SeriesBatch, SeriesCut
from openjepa.signals.series.reading import GAP, OneSeries

Indices = Sequence[int] | np.ndarray | Tensor


LEAST, ENOUGH = 16, 64
"""Windows that can be trained on at least, and those that are made where there are fewer."""
SHORTEST = 8
"""Patches of a window, at least, where windows are made shorter; but no more than half of a series."""


@dataclass(frozen=True, eq=False)
class SeriesPieces:
    """What all parts of a set share: every series, one after the other.

    Attributes:
        values: float32 `[C, S]`, gaps filled between what was measured.
        valid: bool `[C, S]`, what was measured; `None`: all.
        offset: int64 `[n + 1]`, where each series begins and ends.
        first, last: int64 `[n]`, the steps of each series that belong to this part of it, within it.
        answers: numbers of classes, int64 `[n]`, or variables, float64 `[n]`.
        steps: the class of every step, int64 `[S]`, where it changes within a series; or `None`.
        group: int64 `[n]`.
        keys: what each series is called.
    """

    values: Tensor
    valid: Tensor | None
    offset: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    answers: NDArray[Any]
    steps: NDArray[np.int64] | None
    group: NDArray[np.int64]
    keys: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class SeriesWindows:
    """Where the windows of a set lie, each array int64 `[N]`.

    Attributes:
        piece: in which series.
        channel: which of its channels a sample is, where each is one; else 0.
        low, high: its first step lies between these, within the series.
        fixed: where it lies when nothing is drawn.
        end: the step before which it ends; a window that reaches beyond is padded.
    """

    piece: NDArray[np.int64]
    channel: NDArray[np.int64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    fixed: NDArray[np.int64]
    end: NDArray[np.int64]

    def take(self, rows: NDArray[Any]) -> "SeriesWindows":
        return SeriesWindows(*(getattr(self, field.name)[rows] for field in fields(self)))


class SeriesSet:
    """Series or windows, map-style.

    Attributes:
        name: where they come from.
        cut: how they are cut.
        channels: their names, in order.
        length: steps of a sample.
        classes: names of the classes, or `None`.
        grouped: whether samples hang together in groups that no split may cut.
        season: steps after which series repeat, 0 where that is not told.
    """

    noun: ClassVar[str] = "series"
    to_have_more: ClassVar[str] = (
        "; a long series gives more with a smaller --signal.length, or a --signal.stride below it"
    )
    in_memory: ClassVar[bool] = True

    def __init__(
        self,
        name: str,
        cut: SeriesCut,
        held: SeriesPieces,
        windows: SeriesWindows,
        *,
        channels: tuple[str, ...],
        length: int,
        classes: tuple[str, ...] | None,
        labelled: bool,
        grouped: bool,
        skipped: Sequence[Skipped] = (),
    ) -> None:
        self.name, self.cut, self.channels, self.length = name, cut, channels, length
        self.classes, self.labelled, self.grouped, self.season = classes, labelled, grouped, cut.season
        self._held, self._windows, self._skipped = held, windows, list(skipped)

    def __len__(self) -> int:
        return len(self._windows.piece)

    @property
    def apart(self) -> bool:
        """Whether each channel is a sample."""
        return self.cut.tokens == "apart"

    @property
    def shape(self) -> tuple[int, int]:
        """Channels and steps of a sample."""
        return 1 if self.apart else len(self.channels), self.length

    @property
    def labels(self) -> Labels | None:
        if not self.labelled:
            return None
        held, found = self._held, self._windows
        values = held.answers[found.piece]
        if held.steps is not None:
            middle = (found.fixed + np.minimum(found.fixed + self.length, found.end)) // 2
            values = held.steps[held.offset[found.piece] + middle]
        return Labels(values, self.classes, self.groups)

    @property
    def groups(self) -> NDArray[np.int64] | None:
        return self._held.group[self._windows.piece] if self.grouped else None

    def key(self, index: int) -> str:
        """The series that a sample is of: its file, its number in it."""
        return self._held.keys[self._windows.piece[index]]

    def read(self, indices: Indices, rng: Rng | None = None) -> SeriesBatch:
        """Samples in their own units; with `rng` each window begins at a random step of its room."""
        rows = torch.as_tensor(indices, dtype=torch.long).numpy()
        found = self._windows.take(rows)
        starts = found.fixed
        if rng is not None:
            starts = drawn_between(found.low, found.high, rng)
        steps = starts[:, None] + np.arange(self.length)
        there = torch.from_numpy(steps < found.end[:, None])
        at = torch.from_numpy(
            self._held.offset[found.piece][:, None] + np.minimum(steps, found.end[:, None] - 1)
        )
        valid = None if self._held.valid is None else self._of(self._held.valid, found, at)
        if not bool(there.all()):
            padded = there[:, None]
            valid = padded.expand(-1, self.shape[0], -1) if valid is None else valid & padded
        channel = torch.from_numpy(found.channel)[:, None] if self.apart else None
        return SeriesBatch(
            self._of(self._held.values, found, at), None if valid is None else valid.contiguous(), channel
        )

    def _of(self, held: Tensor, windows: SeriesWindows, at: Tensor) -> Tensor:
        """`[C, S]` at `[B, T]` as `[B, C, T]`."""
        if self.apart:
            return held[torch.from_numpy(windows.channel)[:, None], at].unsqueeze(1)
        return held[:, at].movedim(0, 1).contiguous()

    def subset(self, indices: Indices) -> "SeriesSet":
        """The samples at `indices`, in that order; shares the series."""
        return changed(self, _windows=self._windows.take(torch.as_tensor(indices, dtype=torch.long).numpy()))

    def leaving(self, horizon: int) -> "SeriesSet":
        """Windows that `horizon` steps of their part follow, one at every `stride` (0: every) step.

        Those of a later part of a series may begin in the part before it: of a forecast the values that come must be
        of the part.

        Raises:
            UserError: no series is long enough.
        """
        found = list[tuple[int, ...]]()
        held, every = self._held, max(1, self.cut.stride)
        for piece in range(len(held.first)):
            first, last = int(held.first[piece]), int(held.last[piece])
            start = max(0, first - self.length)
            for at in range(start, last - self.length - horizon + 1, every):
                found.append((piece, at, at, at, at + self.length))
        if not found:
            longest = int((held.last - held.first).max())
            raise UserError(
                f"{self.name}: the longest series of this part has {longest:,} steps, and a window of {self.length} "
                f"with {horizon} to come does not fit: use a smaller signal.length or a nearer horizon"
            )
        return changed(self, _windows=_windows(found, len(self.channels) if self.apart else 1))

    def coming(self, horizon: int) -> NDArray[np.float64]:
        """What follows each window, `[N, horizon, C]`, in deviations of the training data.

        Raises:
            UserError: a window's series ends before (see `leaving`).
        """
        return self._at(self.length + np.arange(horizon), horizon)

    def latest(self) -> NDArray[np.float64]:
        """The last value of each window, `[N, 1, C]`, as `coming` gives them."""
        return self._at(np.array([self.length - 1]), 0)

    def lagged(self, horizon: int) -> NDArray[np.float64] | None:
        """A season before what comes, the last of which is known, `[N, horizon, C]`; `None` without a season."""
        if not 0 < self.season <= self.length:
            return None
        return self._at(self.length - self.season + np.arange(horizon) % self.season, 0)

    def _at(self, steps: NDArray[np.int64], horizon: int) -> NDArray[np.float64]:
        found, held = self._windows, self._held
        if horizon and (found.fixed + self.length + horizon > held.last[found.piece]).any():
            raise UserError(
                f"{self.name}: some windows are not followed by {horizon} steps: take leaving({horizon})"
            )
        at = torch.from_numpy((held.offset[found.piece] + found.fixed)[:, None] + steps)
        values = self._of(held.values, found, at).double().mT.numpy()
        if not self.cut.mean:
            return values
        mean, std = np.array(self.cut.mean), np.array(self.cut.std)
        if self.apart:
            return (values - mean[found.channel][:, None, None]) / std[found.channel][:, None, None]
        return (values - mean) / std

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation of each channel, of what was measured in this part; 1 of one that never changes."""
        held, inside = self._held, np.zeros(self._held.values.shape[1], bool)
        for offset, first, last in zip(held.offset[:-1], held.first, held.last, strict=True):
            inside[offset + first : offset + last] = True
        values = held.values[:, torch.from_numpy(inside)].double()
        there = None if held.valid is None else held.valid[:, torch.from_numpy(inside)]
        mean, std = [], []
        for i, row in enumerate(values):
            row = row if there is None else row[there[i]]
            deviation = float(row.std(correction=0)) if len(row) else 0.0
            mean.append(float(f"{float(row.mean()) if len(row) else 0.0:.6g}"))
            std.append(float(f"{deviation:.6g}") if deviation > 0 else 1.0)
        return tuple(mean), tuple(std)

    def describe(self) -> dict[str, Any]:
        """Plain data for `run.json`."""
        contents = self._contents()
        held = self._held
        steps, whole = int((held.last - held.first).sum()), int(held.offset[-1])
        return {
            "name": self.name,
            self.noun: len(self),
            "shape": list(self.shape),
            "channels": list(self.channels),
            "steps": steps if steps == whole else f"{steps:,} of {whole:,}",
            "fingerprint": contents["sha256"],
            "contents": contents,
            "skipped": [[one.name, one.reason] for one in self._skipped],
        }

    def _contents(self) -> Contents:
        held = self._held
        digest = hashlib.sha256(repr((len(self), self.shape, self.channels)).encode())
        digest.update(np.ascontiguousarray(held.values.numpy()).data)
        for part in (held.offset, held.first, held.last, held.answers, self._windows.fixed):
            digest.update(np.ascontiguousarray(part).tobytes())
        return {"covers": "every value", "sha256": digest.hexdigest()}


def series_set(
    name: str,
    cut: SeriesCut,
    found: Sequence[OneSeries],
    *,
    adapt: bool,
    part: int | None = None,
    skipped: Sequence[Skipped] = (),
) -> SeriesSet:
    """Series cut into samples.

    Args:
        adapt: whether samples are no longer than the longest series, whatever `cut` says, and so short that there are
            enough.
        part: which part (0 train, 1 val, 2 test) of a single series that `cut.parts` splits; `None`: all.

    Raises:
        UserError: series with other channels than the first or than those trained on, or that never change.
    """
    channels = found[0].channels
    for one in found:
        if len(one.channels) != len(channels):
            raise UserError(
                f"{one.name} has {len(one.channels)} channels and {found[0].name} {len(channels)}: give series of "
                "equally many"
            )
    if part is not None:
        found, first, last = _split(name, cut, found[0], part)
    else:
        lengths = np.array([one.values.shape[1] for one in found])
        first, last = np.zeros_like(lengths), lengths
    longest = int((last - first).max())
    length, stride = cut.length or longest, cut.stride
    if adapt:
        short = int((last - first < cut.patch).sum())
        if 0 < short < len(found):
            warn(f"{name}: {short} of {len(found)} series are shorter than a patch of {cut.patch} steps")
        length, stride = _adapted(last - first, cut, len(channels), cuttable=part is not None)
    values, valid, offset = _filled(name, found)
    answers, classes, labelled, steps = _answers(name, found)
    windows = _tiles(first, last, length, stride, len(channels) if cut.tokens == "apart" else 1)
    several = len(windows.piece) > len(found)
    grouped = len(found) > 1 and (several or any(one.group for one in found))
    group = np.array([number_of(one.group or f"{name}: {one.name}") for one in found], np.int64)
    keys = tuple(one.name for one in found)
    held = SeriesPieces(values, valid, offset, first, last, answers, steps, group, keys)
    return SeriesSet(
        name,
        cut,
        held,
        windows,
        channels=channels,
        length=length,
        classes=classes,
        labelled=labelled,
        grouped=grouped,
        skipped=skipped,
    )


def _adapted(lengths: NDArray[np.int64], cut: SeriesCut, channels: int, cuttable: bool) -> tuple[int, int]:
    """Steps of a window and from one to the next, for series of these lengths.

    Windows are no longer than the longest series. Where series are cut, or may be, and windows side by side are fewer
    than can be trained on, they become shorter and overlap.
    """
    longest = int(lengths.max())
    length = min(cut.length or longest, longest)
    there = int((lengths // length).clip(1).sum()) * (channels if cut.tokens == "apart" else 1)
    if cut.stride or there >= LEAST or not (cuttable or longest > length):
        return length, cut.stride
    least = SHORTEST * cut.patch
    length = max(cut.patch, min(length, max(least, int(lengths.sum()) // ENOUGH), longest // 2))
    length -= length % cut.patch
    return length, max(1, int((lengths - length).clip(0).sum()) // ENOUGH)


def _split(
    name: str, cut: SeriesCut, one: OneSeries, part: int
) -> tuple[list[OneSeries], NDArray[np.int64], NDArray[np.int64]]:
    """A single series with the bounds of one of its parts."""
    assert cut.parts is not None
    steps, shares = one.values.shape[1], np.cumsum([0, *cut.parts])
    edges = np.minimum(np.round(shares * steps if shares[-1] <= 1 + 1e-9 else shares).astype(int), steps)
    first, last = (int(edge) for edge in edges[part : part + 2])
    if last - first < 2:
        raise UserError(
            f"{name}: {steps:,} steps in parts of {list(cut.parts)} leave {last - first} to part {part + 1}: change "
            "signal.parts"
        )
    return [one], np.array([first]), np.array([last])


def _tiles(
    first: NDArray[np.int64], last: NDArray[np.int64], length: int, stride: int, channels: int
) -> SeriesWindows:
    """Windows side by side, or every `stride` steps; each has room for half of that before and after it."""
    every, found = stride or length, list[tuple[int, ...]]()
    for piece, (a, b) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        count = max(1, (b - a - length) // every + 1)
        left = max(0, (b - a - length - (count - 1) * every) // 2)
        for k in range(count):
            at = a + left + k * every
            low, high = max(a, at - every // 2), min(b - length, at + every // 2)
            found.append((piece, *((low, high) if high >= low else (at, at)), at, b))
    return _windows(found, channels)


def _windows(found: list[tuple[int, ...]], channels: int) -> SeriesWindows:
    """Rows (piece, low, high, fixed, end), each for every channel."""
    piece, low, high, fixed, end = np.array(found, np.int64).reshape(-1, 5).repeat(channels, 0).T
    return SeriesWindows(piece, np.tile(np.arange(channels), len(found)), low, high, fixed, end)


def _filled(name: str, found: Sequence[OneSeries]) -> tuple[Tensor, Tensor | None, NDArray[np.int64]]:
    """All series in a row, gaps filled by lines between what was measured, ends by the nearest value."""
    offset = np.cumsum([0, *(one.values.shape[1] for one in found)])
    values = np.concatenate([one.values for one in found], 1)
    there = np.isfinite(values)
    for i, row in enumerate(there):
        if not row.any():
            raise UserError(f"{name}: channel {found[0].channels[i]} holds no number at all: leave it out")
    spread = np.array([np.ptp(row[known]) for row, known in zip(values, there, strict=True)])
    if not (spread > 0).any():
        raise UserError(f"{name}: its series never change: there is nothing to learn from them")
    _say_constant(name, found, spread)
    if there.all():
        return torch.from_numpy(np.ascontiguousarray(values)), None, offset
    missing = 1 - there.mean()
    if missing > GAP:
        warn(f"{name}: {missing:.0%} of its values are missing")
    for a, b in zip(offset[:-1].tolist(), offset[1:].tolist(), strict=True):
        for row, known in zip(values, there, strict=True):
            part, some = row[a:b], known[a:b]
            if not some.all():
                at = np.flatnonzero(some)
                filling = np.interp(np.arange(b - a), at, part[at]) if len(at) else float(np.mean(row[known]))
                row[a:b] = filling
    return torch.from_numpy(np.ascontiguousarray(values)), torch.from_numpy(there), offset


def _say_constant(name: str, found: Sequence[OneSeries], spread: NDArray[np.float32]) -> None:
    """`spread`: of each channel, over all series."""
    same = [channel for channel, most in zip(found[0].channels, spread.tolist(), strict=True) if not most > 0]
    if same:
        warn(f"{name}: channel {', '.join(same[:3])} never changes: leave it out, as --signal.columns can")
    flat = [one.name for one in found if not _changes(one.values)]
    if flat:
        warn(f"{name}: {len(flat):,} of {len(found):,} series never change: {', '.join(flat[:3])}")


def _changes(values: NDArray[np.float32]) -> bool:
    """Whether any channel `[C, T]` has two values; NaN is none."""
    return bool((np.fmax.reduce(values, 1) > np.fmin.reduce(values, 1)).any())


def _answers(
    name: str, found: Sequence[OneSeries]
) -> tuple[NDArray[Any], tuple[str, ...] | None, bool, NDArray[np.int64] | None]:
    """Numbers of classes or variables, the classes' names, whether any series has one, classes of every step."""
    answers = [one.answer for one in found]
    if any(one.steps is not None for one in found):
        words = [
            one.steps if one.steps is not None else np.full(one.values.shape[1], one.answer or "")
            for one in found
        ]
        everywhere = np.concatenate([part.astype(str) for part in words])
        classes = _sorted(set(everywhere.tolist()) - {"", "-1"})
        number = {word: i for i, word in enumerate(classes)}
        steps = np.array([number.get(word, -1) for word in everywhere.tolist()], np.int64)
        return np.full(len(found), -1, np.int64), classes, True, steps
    if any(isinstance(answer, float) for answer in answers):
        if any(isinstance(answer, str) for answer in answers):
            raise UserError(f"{name}: some series have a class and some a number: give one or the other")
        numbers = [np.nan if answer is None else answer for answer in answers]
        return np.array(numbers, np.float64), None, True, None
    classes = _sorted({answer for answer in answers if isinstance(answer, str)})
    number = {word: i for i, word in enumerate(classes)}
    values = np.array([number.get(str(answer), -1) for answer in answers], np.int64)
    return values, classes or None, bool(classes), None


def _sorted(words: set[str]) -> tuple[str, ...]:
    """By number, where all are whole numbers."""
    whole = all(word.lstrip("-").isdigit() for word in words)
    return tuple(sorted(words, key=int if whole else str))

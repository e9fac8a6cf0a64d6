"""A set of windows of recordings, cut at random or in the middle as they are read."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from openjepa.common.contents import Contents
from openjepa.common.rng import Rng
from openjepa.errors import UserError, warn
from openjepa.signals.base import Labels
from openjepa.signals.electrodes.alignment import aligned
from openjepa.signals.electrodes.batch import Cut, Recordings
from openjepa.signals.electrodes.montage import Place
from openjepa.signals.electrodes.recording import Prepared
from openjepa.signals.parts import changed, digest_labels, drawn_between, number_of
from openjepa.signals.readers.skipped import Skipped

Indices = Sequence[int] | np.ndarray | Tensor


@dataclass(frozen=True)
class RecordingWindows:
    """Where the windows of a set lie: each array `[N]`, int64.

    Attributes:
        piece: in which piece of which recording, numbered through.
        low, high: its first sample lies between these.
        fixed: where it lies when nothing is drawn.
        label, group: -1 without a label; number of the person.
    """

    piece: np.ndarray
    low: np.ndarray
    high: np.ndarray
    fixed: np.ndarray
    label: np.ndarray
    group: np.ndarray

    def take(self, rows: np.ndarray) -> "RecordingWindows":
        parts = (self.piece, self.low, self.high, self.fixed, self.label, self.group)
        return RecordingWindows(*(part[rows] for part in parts))


@dataclass(frozen=True, eq=False)
class RecordingPieces:
    """What all parts of a set share: pieces `[C, S]`, and which channels of the set each of them has.

    Attributes:
        pieces: float32 `[c, S]` each.
        has: int64 `[c]` each: the place in `channels` of each of its channels.
        places: float32 `[c, 3]` each.
        keys: what the recording of each is called in its source.
        starts: seconds after the beginning of its recording, of each.
        people: who was recorded, by their numbers.
    """

    pieces: list[Tensor]
    has: list[Tensor]
    places: list[Tensor]
    keys: list[str]
    starts: list[float]
    people: dict[int, str]
    channels: tuple[str, ...]
    where: tuple[Place, ...]


class RecordingSet:
    """Windows of recordings, map-style.

    Attributes:
        name: where they come from.
        signal: the rate, the band and the length that they are cut to.
        labels: classes, -1 where a window has none, their names, and who was recorded; `None` where no window has any.
        groups: int64 `[N]`, who was recorded, by a number that is the same in every set; `None` where nobody says so.
        subjects: who was recorded, by name.
        channels, places: electrodes of all recordings, in the order in which they first come.
        in_memory: whether `read` only copies.
    """

    noun: ClassVar[str] = "windows"
    in_memory: ClassVar[bool] = True

    def __init__(
        self,
        name: str,
        signal: Cut,
        held: RecordingPieces,
        windows: RecordingWindows,
        *,
        classes: list[str] | None,
        subjects: list[str],
        skipped: Sequence[Skipped] = (),
    ) -> None:
        self.name, self.signal, self.classes, self.subjects = name, signal, classes, subjects
        self._held, self._windows, self._skipped = held, windows, list(skipped)
        self._labels: Labels | None = None

    def __len__(self) -> int:
        return len(self._windows.piece)

    @property
    def channels(self) -> tuple[str, ...]:
        return self._held.channels

    @property
    def places(self) -> tuple[Place, ...]:
        return self._held.where

    @property
    def shape(self) -> tuple[int, int]:
        """Channels and samples of a window."""
        return len(self.channels), self.signal.samples

    @property
    def labels(self) -> Labels | None:
        if self._labels is not None or self.classes is None:
            return self._labels
        return Labels(self._windows.label, tuple(self.classes), self.groups, group_names=self.group_names)

    @property
    def group_names(self) -> dict[int, str]:
        """Who was recorded, by the numbers of `groups`."""
        return self._held.people

    def key(self, index: int) -> str:
        """The recording that a window is of: its path, or its number in an array."""
        return self._held.keys[self._windows.piece[index]]

    def second(self, index: int) -> float:
        """Where a window begins when nothing is drawn, in seconds after the beginning of its recording."""
        piece = self._windows.piece[index]
        return self._held.starts[piece] + float(self._windows.fixed[index]) / self.signal.rate

    @property
    def groups(self) -> np.ndarray | None:
        return self._windows.group if self.subjects else None

    @property
    def recordings(self) -> np.ndarray:
        """`[N]`, in which piece without a gap each window lies."""
        return self._windows.piece

    def read(self, indices: Indices, rng: Rng | None = None) -> Recordings:
        """Windows in microvolts; with `rng` each begins at a random sample of its room, else in the middle of it."""
        rows = torch.as_tensor(indices, dtype=torch.long).numpy()
        found = self._windows.take(rows)
        starts = found.fixed
        if rng is not None:
            starts = drawn_between(found.low, found.high, rng)
        values = torch.zeros(len(rows), *self.shape)
        places = torch.zeros(len(rows), len(self.channels), 3)
        valid = torch.zeros(len(rows), len(self.channels), dtype=torch.bool)
        length = self.signal.samples
        for i, (piece, start) in enumerate(zip(found.piece.tolist(), starts.tolist(), strict=True)):
            has = self._held.has[piece]
            values[i, has] = self._held.pieces[piece][:, start : start + length]
            places[i, has], valid[i, has] = self._held.places[piece], True
        if not valid.all():
            places[~valid] = torch.tensor(self.places).expand_as(places)[~valid]
        return Recordings(values, places, valid)

    def subset(self, indices: Indices) -> "RecordingSet":
        """The windows at `indices`, in that order; shares the recordings."""
        rows = torch.as_tensor(indices, dtype=torch.long).numpy()
        labels = None if self._labels is None else self._labels[rows]
        return changed(self, _windows=self._windows.take(rows), _labels=labels)

    def relabelled(self, labels: Labels | None) -> "RecordingSet":
        """The same windows with other labels."""
        return changed(self, _labels=labels)

    @property
    def spread(self) -> float:
        """Standard deviation of all values in microvolts, of half of them at least: bursts do not count (by the
        median size, which a normal distribution's deviation is 1.4826 times)."""
        used = np.unique(self._windows.piece)
        some = [
            self._held.pieces[i][:, :: max(1, self._held.pieces[i].shape[1] // 20_000)] for i in used.tolist()
        ]
        return 1.4826 * float(torch.cat([part.flatten() for part in some]).abs().median())

    def describe(self) -> dict[str, Any]:
        """Plain data for `run.json`."""
        contents = self._contents()
        return {
            "name": self.name,
            self.noun: len(self),
            "shape": list(self.shape),
            "channels": list(self.channels),
            "people": len(self.subjects) or None,
            "fingerprint": contents["sha256"],
            "contents": contents,
            "skipped": [[one.name, one.reason] for one in self._skipped],
        }

    def _contents(self) -> Contents:
        digest = hashlib.sha256(repr((len(self), self.shape, self.channels)).encode())
        for piece in self._held.pieces:
            digest.update(piece.numpy().tobytes())
        digest.update(self._windows.fixed.tobytes() + self._windows.label.tobytes())
        digest_labels(digest, self._labels)
        return {"covers": "every sample", "sha256": digest.hexdigest()}


def windows_of(
    name: str,
    signal: Cut,
    recordings: Sequence[Prepared],
    skipped: Sequence[Skipped] = (),
    grouped: bool = True,
    keys: Sequence[str] | None = None,
) -> RecordingSet:
    """Cut prepared recordings into windows.

    Args:
        keys: what each recording is called in its source; `None`: its name.
        grouped: whether anything says which recordings are of one person.

    Raises:
        UserError: none is long enough for one window, or none has an event.
    """
    recordings = aligned(recordings, signal.align, signal.rate, signal.band, grouped)
    channels: dict[str, Place] = {}
    for recording in recordings:
        for channel, where in zip(recording.channels, recording.places, strict=True):
            channels.setdefault(channel, where)
    number = {channel: i for i, channel in enumerate(channels)}
    subjects = sorted({recording.subject or recording.name for recording in recordings}) if grouped else []
    pieces, has, places, rows, called, starts = [], [], [], [], [], []
    people: dict[int, str] = {}
    short = 0
    for recording, key in zip(recordings, keys or [r.name for r in recordings], strict=True):
        group = number_of(recording.subject or f"{name}: {recording.name}")
        people[group] = recording.subject or recording.name
        for start, values in recording.pieces:
            found = (_events if signal.windows == "events" else _tiles)(
                recording, start, values.shape[1], signal
            )
            short += not found
            rows += [(len(pieces), *window, group) for window in found]
            pieces.append(torch.from_numpy(np.ascontiguousarray(values)))
            has.append(torch.tensor([number[channel] for channel in recording.channels]))
            places.append(torch.tensor(recording.places))
            called.append(key)
            starts.append(start)
    if not rows:
        raise UserError(_nothing(name, signal, recordings))
    if short:
        what = "hold no event with room for" if signal.windows == "events" else "are shorter than"
        warn(f"{name}: {short:,} of {len(pieces):,} stretches without a gap {what} a window and are left out")
    names = sorted({row[4] for row in rows if row[4] is not None})
    columns = list(zip(*rows, strict=True))
    label = np.array([-1 if value is None else names.index(value) for value in columns[4]], np.int64)
    whole = [np.array(column, np.int64) for column in (*columns[:4], columns[5])]
    windows = RecordingWindows(*whole[:4], label, whole[4])
    held = RecordingPieces(
        pieces,
        has,
        places,
        called,
        starts,
        people if grouped else {},
        tuple(channels),
        tuple(channels.values()),
    )
    return RecordingSet(
        name, signal, held, windows, classes=names or None, subjects=subjects, skipped=skipped
    )


Found = list[tuple[int, int, int, str | None]]
"""Windows in one piece: earliest and latest first sample, the fixed one, the label."""


def _tiles(recording: Prepared, start: float, length: int, signal: Cut) -> Found:
    """Side by side; each has room for half its length before and after, within the piece.

    Where annotations label the windows, it keeps to samples under the same annotation.
    """
    n = signal.samples
    count = length // n
    found: Found = []
    left = (length - count * n) // 2
    for k in range(count):
        fixed = left + k * n
        low, high, label = max(0, fixed - n // 2), min(length - n, fixed + n // 2), recording.label
        if label is None and recording.events:
            label, first, last = _under(recording, start, fixed + n // 2, length, signal)
            low, high = max(low, first), min(high, last - n)
            low, high = (low, high) if low <= fixed <= high else (fixed, fixed)
        found.append((low, high, fixed, label))
    return found


def _under(
    recording: Prepared, start: float, sample: int, length: int, signal: Cut
) -> tuple[str | None, int, int]:
    """The shortest annotation over a sample, and from which sample to which it lasts."""
    time = start + sample / signal.rate
    over = [event for event in recording.events if event.start <= time < event.start + event.duration]
    if not over:
        return None, 0, length
    event = min(over, key=lambda event: event.duration)
    first = round((event.start - start) * signal.rate)
    return event.name, first, first + round(event.duration * signal.rate)


def _events(recording: Prepared, start: float, length: int, signal: Cut) -> Found:
    """One at each annotation; one that lasts longer than a window gives as many as it has room for, side by side."""
    n = signal.samples
    found: Found = []
    for event in recording.events:
        first = round((event.start + signal.offset - start) * signal.rate)
        whole = round((event.duration - signal.offset) * signal.rate)
        count = max(1, whole // n)
        room = max(0, whole - count * n) // count
        for k in range(count):
            at = first + k * (n + room)
            if at >= 0 and at + n <= length:
                high = min(at + room, length - n)
                found.append((at, high, at if room == 0 else (at + high) // 2, event.name))
    return found


def _nothing(name: str, signal: Cut, recordings: Sequence[Prepared]) -> str:
    longest = max((values.shape[1] for r in recordings for _, values in r.pieces), default=0) / signal.rate
    if signal.windows == "events" and not any(r.events for r in recordings):
        return f"{name}: no recording has an annotation, and signal.windows is events: use --signal.windows tiles"
    return (
        f"{name}: the longest stretch without a gap has {longest:.2f} s, and a window has "
        f"{signal.samples / signal.rate:.2f} s: use a smaller signal.seconds"
    )

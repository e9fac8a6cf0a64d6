"""A set of clips of one length and size, cut out of films that lie in memory or are decoded as they are read."""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from openjepa.common.contents import Contents, of_array
from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.signals.base import Labels
from openjepa.signals.parts import changed, digest_labels
from openjepa.signals.readers.folders import Names
from openjepa.signals.readers.skipped import Skipped, attempt, attempt_all, nothing, say_skipped
from openjepa.signals.readers.skipping import Indices, SkippingSet
from openjepa.signals.video.decode import LATE, SHORT, FilmHeader, broken, said

IN_MEMORY_BYTES = 2**30
"""Sets whose decoded frames need no more than this live in memory."""
CUTS = 3
"""Clips of a film over which features can be averaged."""
SLACK = 16
"""Frames that a film may have more than its header says."""


@dataclass(frozen=True)
class ClipCut:
    """Which frames of a film make a clip: how many, and how far apart.

    Attributes:
        frames: T.
        stride: from one to the next, in frames of the film at its average rate; unless
        fps: frames a second, whatever the film's rate is.
    """

    frames: int
    stride: int = 1
    fps: float | None = None

    def at(self, count: int, rate: float, place: float, drawn: bool) -> np.ndarray:
        """Seconds `[T]` of a clip in a film of so many frames, `rate` a second on average.

        Clips begin on frames. A film that is too short for one shows its last frame on, as a player does.

        Args:
            place: of the clip among all that the film has: 0 the first, 1 the last; or, if `drawn`, a uniform number.
        """
        step = 1 / self.fps if self.fps else self.stride / rate
        starts = max(1, math.floor(count - (self.frames - 1) * step * rate + 1e-3))
        start = min(int(place * starts), starts - 1) if drawn else int(place * (starts - 1))
        return start / rate + step * np.arange(self.frames)


class Films(Protocol):
    """Films by number. Picklable; holds no open file, so that it works in forked and spawned workers."""

    @property
    def labels(self) -> np.ndarray | None:
        """int64 `[N]`, -1 where a film has none; `None` without labels."""
        ...

    @property
    def threaded(self) -> bool:
        """Whether it may be asked from several threads."""
        ...

    def __len__(self) -> int: ...

    def name(self, row: int) -> str:
        """The film's name in messages."""
        ...

    def inspect(self, row: int) -> FilmHeader:
        """Raises one of `broken()`."""
        ...

    def decode(self, row: int, size: tuple[int, int], channels: int, most: int) -> tuple[Tensor, np.ndarray]:
        """All frames, uint8 `[T, channels, *size]`, and their seconds `[T]`; raises one of `broken()`."""
        ...

    def decode_at(
        self, row: int, at: np.ndarray, size: tuple[int, int], channels: int, header: FilmHeader
    ) -> Tensor:
        """The frames shown at those seconds (rising); raises one of `broken()`."""
        ...

    def contents(self) -> Contents | None:
        """A checksum over everything, if there is a cheap one."""
        ...


class Frames(Protocol):
    """The frames of films, from which clips are filled."""

    in_memory: bool
    shape: tuple[int, int, int]
    """Of a frame: C, H, W."""

    def __len__(self) -> int: ...

    def fill(self, clip: Tensor, row: int, cut: ClipCut, place: float, drawn: bool) -> bool:
        """Write a clip of one film into uint8 `[T, C, H, W]`, see `ClipCut.at`; whether its film could be decoded."""
        ...

    def damaged(self) -> list[Skipped]:
        """Films that `fill` has found damaged, in any process."""
        ...

    def contents(self) -> Contents | None:
        """A checksum over everything, if there is a cheap one."""
        ...


class ClipSet(SkippingSet):
    """Clips of one length and size, a film each, map-style.

    Attributes:
        shape: `(T, C, H, W)` of what `read` returns.
        labels: classes, -1 where a film has none, their names, and groups, films of one source, which no split takes
            apart; `None` where no film has a label.
        in_memory: whether `read` only copies; else it decodes files and is better called in worker processes.
        place: of the fixed cut among all clips of a film, in 0..1; see `at`.
    """

    noun: ClassVar[str] = "clips"

    def __init__(
        self,
        name: str,
        films: Frames,
        cut: ClipCut,
        *,
        labels: Labels | None = None,
        splits: tuple[str, ...] = ("train",),
        skipped: Sequence[Skipped] = (),
        keys: Names | None = None,
        place: float = 0.5,
    ) -> None:
        super().__init__(name, films, labels=labels, splits=splits, skipped=skipped, keys=keys)
        self._films, self.cut, self.place, self.in_memory = films, cut, place, films.in_memory
        self.shape = (cut.frames, *films.shape)

    def read(self, indices: Indices, rng: Rng | None = None) -> Tensor:
        """uint8 `[B, T, C, H, W]`.

        With `rng`, clips are cut out of their films at random: a function of its seed and step and of a clip's place in
        the global batch. Without, at the set's `place`. A film that cannot be decoded is replaced by the next readable
        one with the same label, always the same one, and named in `skipped`.

        Raises:
            UserError: no film of the set, or of that label, can be decoded.
        """
        chosen = torch.as_tensor(indices, dtype=torch.long).tolist()
        places = [self.place] * len(chosen) if rng is None else rng.uniform(len(chosen)).tolist()
        out = torch.empty(len(chosen), *self.shape, dtype=torch.uint8)
        for clip, index, place in zip(out, chosen, places, strict=True):
            self._fill(clip, index, place, drawn=rng is not None)
        return out

    def at(self, place: float) -> "ClipSet":
        """The same films, cut at another place when nothing is drawn: 0 their beginnings, 1 their ends."""
        return changed(self, place=place)

    def cuts(self, indices: Indices) -> Iterator[Tensor]:
        """Clips of several places of each film, `CUTS` batches as `read` gives them: beginning, middle and end."""
        return (self.at(i / (CUTS - 1)).read(indices) for i in range(CUTS))

    def describe(self) -> dict[str, Any]:
        """Name, number, shape, a SHA-256 over shape, labels and some pixels, one over all, and what was skipped."""
        digest = hashlib.sha256(repr((len(self), self.shape, self.cut)).encode())
        digest.update(self.read(self._fingerprinted()).numpy().tobytes())
        digest_labels(digest, self.labels)
        self.tell()
        return {
            "name": self.name,
            self.noun: len(self),
            "shape": list(self.shape),
            "fingerprint": digest.hexdigest(),
            "contents": self._films.contents(),
            "skipped": [[skipped.name, skipped.reason] for skipped in self.skipped],
        }

    def _fill(self, clip: Tensor, index: int, place: float, drawn: bool) -> None:
        for row in self._stand_ins(index):
            if self._films.fill(clip, row, self.cut, place, drawn):
                return
        found = next(iter(self._films.damaged()), None)
        which = f", such as {found.name} ({found.reason})" if found else ""
        raise UserError(f"{self.name}: none of its films can be decoded{which}: are the files complete?")


class LoadedFrames:
    """All films' frames in one tensor `[sum of T, C, H, W]`, uint8.

    Args:
        frames: of one film after the other.
        lengths: how many each film has.
        times: seconds of each frame since its film's start.
        rates: frames a second, of each film.
    """

    in_memory = True

    def __init__(self, frames: Tensor, lengths: Sequence[int], times: np.ndarray, rates: np.ndarray) -> None:
        self.frames, self.times, self.rates = frames, times, rates
        self.starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self.shape = (frames.shape[1], frames.shape[2], frames.shape[3])

    def __len__(self) -> int:
        return len(self.rates)

    def fill(self, clip: Tensor, row: int, cut: ClipCut, place: float, drawn: bool) -> bool:
        first, end = self.starts[row], self.starts[row + 1]
        times, rate = self.times[first:end], float(self.rates[row])
        at = cut.at(int(end - first), rate, place, drawn)
        shown = np.searchsorted(times, at + LATE / rate, side="right") - 1
        where = torch.from_numpy(first + shown.clip(0, len(times) - 1))
        torch.index_select(self.frames, 0, where, out=clip)
        return True

    def damaged(self) -> list[Skipped]:
        return []

    def contents(self) -> Contents:
        return of_array(self.frames)


class DecodedClips:
    """Films decoded when asked for. Which failed is shared between processes."""

    in_memory = False

    def __init__(
        self,
        films: Films,
        rows: Sequence[int],
        headers: Sequence[FilmHeader],
        size: tuple[int, int],
        channels: int,
    ) -> None:
        self.films, self.rows, self.size = films, np.array(rows, np.int64), size
        self.counts = np.array([header.frames for header in headers])
        self.rates = np.array([header.rate for header in headers])
        self.shape = (channels, *size)
        self.failed = torch.zeros(len(rows), dtype=torch.bool).share_memory_()

    def __len__(self) -> int:
        return len(self.rows)

    def fill(self, clip: Tensor, row: int, cut: ClipCut, place: float, drawn: bool) -> bool:
        if self.failed[row]:
            return False
        found = self._attempt(row, cut, place, drawn)
        if isinstance(found, str):
            self.failed[row] = True
            return False
        clip.copy_(found)
        return True

    def _attempt(self, row: int, cut: ClipCut, place: float, drawn: bool) -> Tensor | str:
        count, rate = int(self.counts[row]), float(self.rates[row])
        header = FilmHeader(*self.size, self.shape[0], count, rate)
        at = cut.at(count, rate, place, drawn)
        number = int(self.rows[row])
        return attempt(
            lambda: self.films.decode_at(number, at, self.size, self.shape[0], header), broken(), said
        )

    def contents(self) -> Contents | None:
        return self.films.contents()

    def damaged(self) -> list[Skipped]:
        found = []
        for row in self.failed.nonzero()[:, 0].tolist():
            reason = self._attempt(row, ClipCut(1), 1.0, drawn=False)
            why = reason if isinstance(reason, str) else "cannot be decoded in parts"
            found.append(Skipped(self.films.name(int(self.rows[row])), why))
        return found


def build(
    name: str,
    films: Films,
    cut: ClipCut,
    *,
    size: tuple[int, int],
    channels: int | None,
    classes: list[str] | None = None,
    groups: np.ndarray | None = None,
    splits: tuple[str, ...] = ("train",),
    skipped: Sequence[Skipped] = (),
    key: Callable[[int], str] = str,
) -> ClipSet:
    """Look at every header, settle the channels, and hold all frames in memory if they are few.

    Args:
        key: what the films are called, by row.

    Raises:
        UserError: nothing readable; or frames a second asked of what has no seconds.
    """
    errors = broken()
    looked = attempt_all(
        lambda row: attempt(lambda: films.inspect(row), errors, said), len(films), films.threaded
    )
    failed = {row: found for row, found in enumerate(looked) if isinstance(found, str)}
    headers = {row: found for row, found in enumerate(looked) if isinstance(found, FilmHeader)}
    if cut.fps and (untimed := [row for row, header in headers.items() if not header.timed]):
        raise UserError(
            f"{name}: {films.name(untimed[0])} has no time stamps to cut {cut.fps:g} frames a second by: "
            "set signal.stride, and signal.fps to null"
        )
    given = {header.channels for header in headers.values()}
    channels = channels or (given.pop() if len(given) == 1 else 3)
    rows = list(headers)
    few = sum(h.frames for h in headers.values()) * channels * math.prod(size) <= IN_MEMORY_BYTES
    held: Frames | None = None
    if few:
        parts: dict[int, Tensor] = {}
        times: dict[int, np.ndarray] = {}

        def load(i: int) -> str | None:
            row = rows[i]
            most = SLACK + headers[row].frames
            found = attempt(lambda: films.decode(row, size, channels, most), errors, said)
            if isinstance(found, str):
                return found
            if len(found[0]) < SHORT * headers[row].frames:
                return f"cut off after {len(found[0])} of {headers[row].frames} frames"
            parts[row], times[row] = found
            return None

        outcome = attempt_all(load, len(rows), films.threaded)
        failed |= {rows[i]: why for i, why in enumerate(outcome) if why is not None}
        rows = [row for row in rows if row not in failed]
        if rows:
            lengths = [len(parts[row]) for row in rows]
            rates = np.array([headers[row].rate for row in rows])
            frames = torch.empty(sum(lengths), channels, *size, dtype=torch.uint8)
            for row, part in zip(rows, frames.split(lengths), strict=True):
                part.copy_(parts.pop(row))
            held = LoadedFrames(frames, lengths, np.concatenate([times[row] for row in rows]), rates)
    elif rows:
        held = DecodedClips(films, rows, [headers[row] for row in rows], size, channels)
    missing = [*skipped, *(Skipped(films.name(row), why) for row, why in sorted(failed.items()))]
    if held is None:
        raise _nothing(name, len(films), missing)
    say_skipped(name, missing, len(rows), ClipSet.noun)
    labels = None if films.labels is None else films.labels[rows]
    if labels is not None and (labels < 0).all():
        labels = None
    known = None
    if labels is not None:
        names = None if classes is None else tuple(classes)
        known = Labels(labels, names, None if groups is None else groups[rows])
    return ClipSet(
        name,
        held,
        cut,
        labels=known,
        splits=splits,
        skipped=missing,
        keys=Names([key(row) for row in rows]),
    )


def _nothing(name: str, count: int, skipped: Sequence[Skipped]) -> UserError:
    what = f"none of its {count} films is readable" if count else "it holds no files that could be films"
    return nothing(
        name, what, skipped, "a folder of films, of folders of frames, tar shards of films, or arrays"
    )

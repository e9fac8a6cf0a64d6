"""Clips of one length out of recordings, cut at random or in the middle as they are read."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openjepa.common.contents import Contents, of_array
from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.signals.audio.batch import Sounds
from openjepa.signals.audio.spectrogram import LogMel
from openjepa.signals.base import Labels
from openjepa.signals.parts import changed, digest_labels, drawn_between
from openjepa.signals.readers.skipped import Skipped, attempt

Indices = Sequence[int] | NDArray[Any] | Tensor
FINGERPRINTED = 64
"""Clips whose spectrograms enter a set's fingerprint."""
CUTS = 3
"""Places of a recording that `cuts` gives: beginning, middle and end."""


class RecordedSounds(Protocol):
    """Recordings by number, from which clips are cut."""

    in_memory: bool
    lengths: NDArray[np.int64]
    """Frames of each."""
    seconds: float
    """Of all together."""

    def mels(self, rows: NDArray[np.int64], first: NDArray[np.int64], frames: int) -> Tensor:
        """`[B, bands, frames]` from frame `first` of each on; zeros beyond its end."""
        ...

    def waves(self, row: int, first: int, frames: int) -> Tensor:
        """The sound under `frames` windows, silence beyond the recording's ends; raises one of `broken()`."""
        ...

    def name(self, row: int) -> str: ...
    def broken(self) -> tuple[type[BaseException], ...]:
        """What reading a damaged recording raises."""
        ...

    def contents(self) -> Contents | None:
        """A checksum over everything, if there is a cheap one."""
        ...


@dataclass(frozen=True)
class SoundCuts:
    """Where the clips of a set lie: arrays `[N]`.

    Attributes:
        row: in which recording.
        low, high: a clip's first frame lies between these.
    """

    row: NDArray[np.int64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]

    def take(self, rows: NDArray[Any]) -> "SoundCuts":
        return SoundCuts(self.row[rows], self.low[rows], self.high[rows])


def cuts_of(lengths: NDArray[np.int64], frames: int, tiles: bool) -> SoundCuts:
    """One clip a recording, anywhere in it; or with `tiles` as many as lie side by side in it, each with room for half
    its length before and after."""
    if not tiles:
        row = np.arange(len(lengths))
        return SoundCuts(row, np.zeros_like(lengths), np.maximum(lengths - frames, 0))
    counts = np.maximum(lengths // frames, 1)
    row = np.repeat(np.arange(len(lengths)), counts)
    number = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    left = np.maximum(lengths - counts * frames, 0) // 2
    fixed = left[row] + number * frames
    last = np.maximum(lengths[row] - frames, 0)
    return SoundCuts(row, np.clip(fixed - frames // 2, 0, last), np.clip(fixed + frames // 2, 0, last))


class SoundSet:
    """Clips of one length, map-style.

    Attributes:
        name: where they come from.
        shape: bands and frames of a clip.
        labels: classes, -1 where a clip has none, their names, groups and folds; `None` where nothing is known.
        splits: what the source offers to `open_sounds(split=...)`.
        in_memory: whether spectrograms of all recordings are held, so that `read` only copies.
        spec: how spectrograms are made.
        rate: samples a second of most recordings, before they were resampled.
        place: of the fixed cut among all of a clip's, in 0..1.
    """

    noun: ClassVar[str] = "clips"
    to_have_more: ClassVar[str] = "; a long recording gives several with --signal.clips tiles"

    def __init__(
        self,
        name: str,
        recorded: RecordedSounds,
        spec: LogMel,
        frames: int,
        cuts: SoundCuts,
        *,
        rate: int,
        labels: Labels | None = None,
        splits: tuple[str, ...] = ("train",),
        skipped: Sequence[Skipped] = (),
        keys: Any = None,
        place: float = 0.5,
    ) -> None:
        self.name, self.spec, self.rate, self.labels, self.splits = name, spec, rate, labels, splits
        self.shape, self.place, self.in_memory = (spec.bands, frames), place, recorded.in_memory
        self._recorded, self._cuts, self._skipped, self._keys = recorded, cuts, list(skipped), keys

    def __len__(self) -> int:
        return len(self._cuts.row)

    @property
    def skipped(self) -> list[Skipped]:
        """Files that were left out."""
        return list(self._skipped)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """`[N]`, frames of the recording that each clip is of."""
        return self._recorded.lengths[self._cuts.row]

    @property
    def recordings(self) -> NDArray[np.int64]:
        """`[N]`, which recording each clip is of."""
        return self._cuts.row

    def key(self, index: int) -> str:
        """What the recording of a clip is called in its source: its path, its name in a shard, its number."""
        row = int(self._cuts.row[index])
        return str(row) if self._keys is None else self._keys[row]

    def relabelled(self, labels: Labels | None) -> "SoundSet":
        """The same clips with other labels."""
        return changed(self, labels=labels)

    def read(self, indices: Indices, rng: Rng | None = None) -> Sounds:
        """Clips; with `rng` each begins at a random frame of its room, else at the set's `place`.

        Raises:
            UserError: a recording can no longer be read.
        """
        found = self._cuts.take(torch.as_tensor(indices, dtype=torch.long).numpy())
        if rng is None:
            starts = found.low + np.floor((found.high - found.low) * self.place).astype(np.int64)
        else:
            starts = drawn_between(found.low, found.high, rng)
        return self._read(found.row, starts)

    def at(self, place: float) -> "SoundSet":
        """The same clips, cut at another place when nothing is drawn: 0 their beginnings, 1 their ends."""
        return changed(self, place=place)

    def cuts(self, indices: Indices) -> Iterator[Sounds]:
        """Clips of several places of each recording, a batch a place: beginning, middle and end."""
        return (self.at(i / (CUTS - 1)).read(indices) for i in range(CUTS))

    def subset(self, indices: Indices) -> "SoundSet":
        """The clips at `indices`, in that order; shares the recordings."""
        rows = torch.as_tensor(indices, dtype=torch.long).numpy()
        labels = None if self.labels is None else self.labels[rows]
        return changed(self, _cuts=self._cuts.take(rows), labels=labels)

    def describe(self) -> dict[str, Any]:
        """Plain data for `run.json`."""
        some = np.unique(np.linspace(0, len(self) - 1, FINGERPRINTED).astype(np.int64))
        batch = self.read(some)
        held = batch.mels if batch.mels is not None else batch.waves
        assert held is not None
        digest = hashlib.sha256(repr((len(self), self.shape, self.spec)).encode())
        digest.update(held.numpy().tobytes())
        digest_labels(digest, self.labels)
        return {
            "name": self.name,
            self.noun: len(self),
            "shape": list(self.shape),
            "rate": self.rate,
            "minutes": round(self._recorded.seconds / 60, 1),
            "fingerprint": digest.hexdigest(),
            "contents": self._recorded.contents(),
            "skipped": [[one.name, one.reason] for one in self._skipped],
        }

    def _read(self, rows: NDArray[np.int64], starts: NDArray[np.int64]) -> Sounds:
        frames = self.shape[1]
        lengths = torch.from_numpy(self._recorded.lengths[rows] - starts)
        valid = torch.arange(frames) < lengths[:, None]
        if self.in_memory:
            return Sounds(valid, self._recorded.mels(rows, starts, frames))
        waves = torch.zeros(len(rows), self.spec.span(frames))
        for clip, row, start in zip(waves, rows.tolist(), starts.tolist(), strict=True):
            part = attempt(partial(self._recorded.waves, row, start, frames), self._recorded.broken())
            if isinstance(part, str):
                raise UserError(
                    f"{self.name}: {self._recorded.name(row)} can no longer be read ({part}): restore it"
                )
            clip.copy_(part)
        return Sounds(valid, waves=waves)


class LoadedMels:
    """Spectrograms of all recordings in one tensor `[sum of frames, bands]`."""

    in_memory = True

    def __init__(self, mels: Tensor, lengths: Sequence[int], seconds: float) -> None:
        self.lengths, self.seconds = np.array(lengths, np.int64), seconds
        self._mels, self._starts = mels, np.cumsum(self.lengths) - self.lengths

    def mels(self, rows: NDArray[np.int64], first: NDArray[np.int64], frames: int) -> Tensor:
        at = torch.from_numpy(self._starts[rows] + first)[:, None] + torch.arange(frames)
        beyond = at >= torch.from_numpy(self._starts[rows] + self.lengths[rows])[:, None]
        found = self._mels[at.clamp_max_(len(self._mels) - 1)].masked_fill_(beyond[..., None], 0)
        return found.transpose(1, 2).contiguous()

    def contents(self) -> Contents:
        return {**of_array(self._mels), "covers": "every spectrogram"}

    def waves(self, row: int, first: int, frames: int) -> Tensor:
        raise NotImplementedError

    def name(self, row: int) -> str:
        return f"recording {row}"

    def broken(self) -> tuple[type[BaseException], ...]:
        return ()

"""All episodes of a set end to end: numbers in memory, frames in memory or on disk."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openjepa.common.contents import Contents, of_array, of_files
from openjepa.errors import UserError
from openjepa.signals.images import Skipped
from openjepa.signals.images.decode import BROKEN
from openjepa.worlds.pictures import Pixels, resized
from openjepa.worlds.records import EpisodeRecording, Progress, first_line, nothing

IN_MEMORY_BYTES = 2**31
"""Sets whose frames need no more than this live in memory."""


class Tape:
    """Episode i has rows `offsets[i]` to `offsets[i] + lengths[i]`, one a frame.

    Attributes:
        records: the episodes.
        lengths, offsets: int64 `[E]`, actions in each episode and its first row.
        actions: float32 `[R, A]`; NaN in the last row of an episode, which no action follows.
        state: float32 `[R, P]`.
        frame: channels, rows and columns of a frame.
        pixels: uint8 `[R, C, H, W]`, or `None` where frames are read when asked for.
        skipped: the recording's, and what proved unreadable here.
    """

    def __init__(
        self,
        recording: EpisodeRecording,
        size: int | None,
        in_memory: bool | None,
        progress: Progress | None = None,
    ) -> None:
        self.name, self.skipped, self._size = recording.name, list(recording.skipped), size
        self.records = list(recording.records)
        self._source = recording.source
        self.frame = self._probe()
        self._lay_out()
        held = self.rows * int(np.prod(self.frame)) <= IN_MEMORY_BYTES if in_memory is None else in_memory
        self.pixels = self._load(progress) if held else None

    @property
    def rows(self) -> int:
        """R, frames in all."""
        return int(self.lengths.sum()) + len(self.lengths)

    def frames(self, episode: NDArray, start: NDArray, steps: int, block: int) -> Tensor:
        """uint8 `[B, steps, C, H, W]`: every `block`-th frame of episodes `[B]`, from `start` `[B]` on.

        Raises:
            UserError: a file has been damaged or removed since it was opened.
        """
        if self.pixels is not None:
            rows = (self.offsets[episode] + start)[:, None] + block * np.arange(steps)
            return self.pixels.index_select(0, torch.from_numpy(rows.ravel())).unflatten(0, rows.shape)
        windows = torch.empty(len(episode), steps, *self.frame, dtype=torch.uint8)
        for i in np.lexsort((start, episode)):  # neighbours share what the file has decoded
            first = int(start[i])
            found = self._fitting(int(episode[i]), first, first + (steps - 1) * block + 1, block)
            if isinstance(found, str):
                raise UserError(f"{self.name}: {self.records[episode[i]].name} cannot be read ({found})")
            windows[i] = torch.from_numpy(found)
        return windows

    def info(self, episode: int) -> Mapping[str, Any]:
        """Other facts about an episode; raises as `frames`."""
        record = self.records[episode]
        try:
            return self._source.info(record.number)
        except BROKEN as error:
            raise UserError(f"{self.name}: {record.name} cannot be read ({first_line(error)})") from None

    def contents(self) -> Contents | None:
        """A checksum over all frames, or over the files that hold them."""
        if self.pixels is not None:
            return of_array(self.pixels)
        files = getattr(self._source, "files", ())
        return of_files((path.name, path) for path in files) if files else None

    def _attempt(self, episode: int, first: int, stop: int, block: int = 1) -> Pixels | str:
        """Frames of an episode, or why they cannot be read."""
        try:
            found = self._source.frames(self.records[episode].number, first, stop)[::block]
        except BROKEN as error:
            return first_line(error)
        return resized(found, self._size)

    def _fitting(self, episode: int, first: int, stop: int, block: int = 1) -> Pixels | str:
        """The same, if they have the shape of the others'."""
        found = self._attempt(episode, first, stop, block)
        if isinstance(found, str) or found.shape[1:] == self.frame:
            return found
        return f"its frames are {list(found.shape[1:])}, others' {list(self.frame)}"

    def _probe(self) -> tuple[int, int, int]:
        """The shape of a frame, by the first episode of which one can be read; those before it are dropped."""
        while self.records:
            found = self._attempt(0, 0, 1)
            if not isinstance(found, str):
                channels, height, width = found.shape[1:]
                return channels, height, width
            self._drop({0: found})
        raise nothing(self.name, self.skipped)

    def _load(self, progress: Progress | None) -> Tensor:
        """Every frame; episodes that cannot be read, or whose frames are of another size, are dropped."""
        pixels = torch.empty(self.rows, *self.frame, dtype=torch.uint8)
        bad: dict[int, str] = {}
        for i, (first, length) in enumerate(zip(self.offsets.tolist(), self.lengths.tolist(), strict=True)):
            found = self._fitting(i, 0, length + 1)
            if isinstance(found, str):
                bad[i] = found
            else:
                pixels[first : first + length + 1] = torch.from_numpy(found)
            if progress is not None:
                progress("reading episodes", i + 1, len(self.lengths))
        if bad:
            whole = np.repeat(~np.isin(np.arange(len(self.records)), list(bad)), self.lengths + 1)
            pixels = pixels[torch.from_numpy(whole)]
            self._drop(bad)
            self._lay_out()
        return pixels

    def _drop(self, bad: Mapping[int, str]) -> None:
        self.skipped += [Skipped(self.records[i].name, reason) for i, reason in bad.items()]
        self.records = [record for i, record in enumerate(self.records) if i not in bad]

    def _lay_out(self) -> None:
        if not self.records:
            raise nothing(self.name, self.skipped)
        self.lengths = np.array([len(record.actions) for record in self.records], np.int64)
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths + 1)[:-1]])
        none = np.full((1, self.records[0].actions.shape[1]), np.nan, np.float32)
        actions = np.concatenate([rows for record in self.records for rows in (record.actions, none)])
        self.actions = torch.from_numpy(actions)
        self.state = torch.from_numpy(np.concatenate([record.state for record in self.records]))

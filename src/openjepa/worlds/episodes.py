"""Recorded episodes: split by episode, cut into windows."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openjepa.common.contents import Contents
from openjepa.errors import UserError
from openjepa.signals.frames import z_score
from openjepa.signals.images import Skipped
from openjepa.worlds.actions import Box
from openjepa.worlds.cameras import Cameras
from openjepa.worlds.pictures import Pixels
from openjepa.worlds.records import EpisodeRecording, Progress
from openjepa.worlds.tape import Tape
from openjepa.worlds.windows import WindowIndex

FINGERPRINTED = 64
"""Frames that enter a set's fingerprint."""


@dataclass(frozen=True, eq=False)
class Episode:
    """T steps of one world.

    Attributes:
        frames: uint8 `[T+1, C, H, W]`.
        actions: float32 `[T, A]`, in the environment's units; a row with NaN is missing. Discrete ones are one-hot.
        state: float32 `[T+1, P]`, physical variables; P may be 0.
        info: seed, factors, success and what else is known. Arrays of length T+1 belong to the frames.
    """

    frames: Pixels
    actions: NDArray[np.float32]
    state: NDArray[np.float32]
    info: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.actions)


class Episodes:
    """A set of episodes of unequal lengths, map-style.

    Attributes:
        name: where they come from.
        frame: channels, rows, columns.
        action_dim: A.
        variables: names of the P variables of the state.
        actions: bounds of one action, or how many discrete ones there are; where the data does not say, the range
            that was recorded.
        about: how they were recorded, plain data; of a collected world `world` and `options`, as `make` takes them.
        in_memory: whether frames are kept in memory, else decoded when read.
        names: what the file calls things, as they were opened with (see `open_episodes`).
    """

    def __init__(
        self,
        recording: EpisodeRecording,
        size: int | None = None,
        in_memory: bool | None = None,
        progress: Progress | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        self.names: Mapping[str, str] = dict(names or {})
        self._recording, self._tape = recording, Tape(recording, size, in_memory, progress)
        self._numbers = np.arange(len(self._tape.records))

    @property
    def name(self) -> str:
        return self._recording.name

    @property
    def about(self) -> Mapping[str, Any]:
        return self._recording.about

    @property
    def cameras(self) -> Cameras:
        """Whose pictures a frame holds."""
        return self._recording.cameras

    @property
    def frame(self) -> tuple[int, int, int]:
        return self._tape.frame

    @property
    def action_dim(self) -> int:
        return self._tape.actions.shape[1]

    @property
    def in_memory(self) -> bool:
        return self._tape.pixels is not None

    @property
    def variables(self) -> tuple[str, ...]:
        width = self._tape.state.shape[1]
        named = self._recording.variables
        return named if len(named) == width else tuple(f"state {i}" for i in range(width))

    @property
    def called(self) -> list[str]:
        """What messages and tables call each episode."""
        return [self._tape.records[number].name for number in self._numbers]

    @property
    def skipped(self) -> list[Skipped]:
        """Episodes and files left out, and why."""
        return self._tape.skipped

    @property
    def lengths(self) -> NDArray[np.int64]:
        """T of each episode, `[E]`."""
        return self._tape.lengths[self._numbers]

    @cached_property
    def actions(self) -> Box | int:
        given = self._recording.actions
        if isinstance(given, int) or (
            given is not None and np.isfinite(given.low).all() and np.isfinite(given.high).all()
        ):
            return given
        rows = self._rows()
        return Box(np.nanmin(rows, 0), np.nanmax(rows, 0))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over lengths, actions, states and some frames; for `run.json`."""
        digest = hashlib.sha256(repr((self.frame, self.lengths.tolist())).encode())
        some = np.unique(np.linspace(0, self.lengths.sum() + len(self) - 1, FINGERPRINTED).astype(np.int64))
        ends = np.cumsum(self.lengths + 1)
        episode = np.searchsorted(ends, some, side="right")
        start = some - (ends - self.lengths - 1)[episode]
        digest.update(self._tape.frames(self._numbers[episode], start, 1, 1).numpy().tobytes())
        for number in self._numbers:
            record = self._tape.records[number]
            digest.update(record.actions.astype("<f4").tobytes() + record.state.astype("<f4").tobytes())
        return digest.hexdigest()

    @cached_property
    def contents(self) -> Contents | None:
        """A checksum over all frames of the recording, or over its files; for `run.json`."""
        return self._tape.contents()

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> Episode:
        """Raises UserError when its file has been damaged since."""
        number = int(self._numbers[index])
        record = self._tape.records[number]
        rows = len(record.actions) + 1
        frames = self._tape.frames(np.array([number]), np.array([0]), rows, 1)[0].numpy()
        return Episode(frames, record.actions, record.state, self._tape.info(number))

    def __iter__(self) -> Iterator[Episode]:
        return (self[i] for i in range(len(self)))

    def subset(self, indices: Sequence[int] | NDArray) -> "Episodes":
        """The episodes at `indices`, in that order; shares the frames."""
        chosen = object.__new__(Episodes)
        chosen._recording, chosen._tape, chosen.names = self._recording, self._tape, self.names
        chosen._numbers = self._numbers[np.asarray(indices, np.int64)]
        return chosen

    def split(self, share: float, seed: int) -> tuple["Episodes", "Episodes"]:
        """Two sets without a common episode; the first has this share of them (0.9: nine in ten), each at least one.

        Raises:
            UserError: fewer than two episodes, or a share that is not between 0 and 1.
        """
        if not 0 < share < 1:
            raise UserError(f"share={share}: the first part's share of the episodes lies between 0 and 1")
        if len(self) < 2:
            raise UserError(f"{self.name} has {len(self)} episode: at least two are needed to split them")
        order = np.random.default_rng(seed).permutation(len(self))
        count = min(max(round(share * len(self)), 1), len(self) - 1)
        return self.subset(np.sort(order[:count])), self.subset(np.sort(order[count:]))

    def windows(self, steps: int, block: int = 1, stride: int = 1) -> WindowIndex:
        """Windows of `steps` frames that lie `block` environment steps apart and begin at every `stride`-th step.

        Raises:
            UserError: no episode is long enough, or a number is below 1.
        """
        return WindowIndex(self._tape, self._numbers, self.action_scale(), steps, block, stride)

    def action_scale(self) -> dict[str, Any]:
        """`action_mean` and `action_std` for a `FrameSignal`; nothing for discrete actions, which are one-hot.

        Raises:
            UserError: every action is missing.
        """
        return {} if isinstance(self._recording.actions, int) else z_score(self._rows())

    def states(self) -> NDArray[np.float32]:
        """All physical variables, `[sum of T+1, P]`."""
        return np.concatenate([self._tape.records[number].state for number in self._numbers])

    def _rows(self) -> NDArray[np.float32]:
        return np.concatenate([self._tape.records[number].actions for number in self._numbers])

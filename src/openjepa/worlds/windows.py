"""Windows of episodes: what a world model is trained on, read as whole batches."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openjepa.errors import UserError
from openjepa.signals.frames import FrameSignal, Window
from openjepa.signals.images import Skipped
from openjepa.worlds.tape import Tape

Indices = Sequence[int] | NDArray | Tensor


class WindowIndex:
    """All windows of `steps` frames, `block` environment steps apart, within single episodes; map-style.

    A window with a missing action is left out; an episode shorter than a window is skipped.

    Attributes:
        name: where they come from.
        steps, block: T, and environment steps from one frame of a window to the next.
        frame: channels, rows, columns.
        action_dim, state_dim: A and P; a window's actions are `block * A` wide.
        episode, start: int64 `[N]`, each window's episode, counted as in the `Episodes` it was made of, and first step.
        gaps: how many windows were left out because an action in them is missing.
        skipped: episodes that are too short.
        in_memory: whether `read` only copies; else it decodes files and is better called in worker processes.

    Raises:
        UserError: a number below 1, or no window at all.
    """

    def __init__(
        self, tape: Tape, numbers: NDArray, options: dict[str, Any], steps: int, block: int, stride: int
    ) -> None:
        for name, value in (("steps", steps), ("block", block), ("stride", stride)):
            if value < 1:
                raise UserError(f"{name}={value}: the windows' {name} must be at least 1")
        self.name, self.steps, self.block, self._tape, self._numbers = tape.name, steps, block, tape, numbers
        self.frame, self.in_memory = tape.frame, tape.pixels is not None
        self.action_dim, self.state_dim = tape.actions.shape[1], tape.state.shape[1]
        self._options = options
        span, lengths = (steps - 1) * block, tape.lengths[numbers]
        self.skipped = [
            Skipped(tape.records[numbers[i]].name, f"{lengths[i]} steps long, a window needs {span}")
            for i in np.flatnonzero(lengths < span)
        ]
        counts = np.where(lengths < span, 0, (lengths - span) // stride + 1)
        self.episode = np.repeat(np.arange(len(numbers)), counts)
        self.start = (np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)) * stride
        whole = self._whole(span)
        self.gaps = int((~whole).sum())
        self.episode, self.start = self.episode[whole], self.start[whole]
        if len(self) == 0:
            why = f"{self.gaps} lack an action" if self.gaps else f"the longest episode has {lengths.max()}"
            raise UserError(
                f"{self.name}: no window of {steps} frames, {block} steps apart, fits ({span} steps; {why}): "
                "ask for fewer frames or a smaller block"
            )

    def __len__(self) -> int:
        return len(self.episode)

    @property
    def shape(self) -> tuple[int, ...]:
        """T, C, H, W of what `read` returns."""
        return self.steps, *self.frame

    def read(self, indices: Indices) -> Window:
        """A batch of windows.

        Raises:
            UserError: a file has been damaged or removed since it was opened.
        """
        chosen = np.asarray(indices, np.int64)
        episode, start = self._numbers[self.episode[chosen]], self.start[chosen]
        rows = (self._tape.offsets[episode] + start)[:, None] + np.arange((self.steps - 1) * self.block + 1)
        actions = self._tape.actions[torch.from_numpy(rows[:, :-1])]
        return Window(
            frames=self._tape.frames(episode, start, self.steps, self.block),
            actions=actions.reshape(len(chosen), self.steps - 1, self.block * self.action_dim),
            state=self._tape.state[torch.from_numpy(rows[:, :: self.block])],
        )

    def signal(self, **changes: Any) -> FrameSignal:
        """The signal that fits these windows, with the z-score of the episodes' actions.

        Raises:
            UserError: the frames are not square.
        """
        channels, height, width = self.frame
        if height != width:
            raise UserError(
                f"{self.name}: frames of {height}x{width} px are not square: open the episodes with size="
            )
        scale = {} if channels == 3 else {"mean": (0.5,), "std": (0.5,)}
        shape = {
            "size": height,
            "channels": channels,
            "action_dim": self.action_dim,
            "state_dim": self.state_dim,
        }
        return FrameSignal.parse({**shape, "block": self.block, **scale, **self._options, **changes})

    def _whole(self, span: int) -> NDArray:
        """Which windows have all their actions, `[N]` bool."""
        missing = ~torch.isfinite(self._tape.actions).all(1).numpy()
        before = np.concatenate([[0], np.cumsum(missing)])
        first = self._tape.offsets[self._numbers[self.episode]] + self.start
        return before[first + span] == before[first]

"""Single frames of episodes as samples: to embed, and to read physical variables off their states."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from openjepa.common.rng import Rng
from openjepa.signals.base import Labels
from openjepa.signals.frames import FrameSignal, Window
from openjepa.signals.parts import number_of

if TYPE_CHECKING:
    from openjepa.worlds.episodes import Episodes


class EpisodeFrames:
    """Every frame of some episodes, each a window of those that a state is of, itself the last.

    Where a state is of several frames (`signal.stack`), the first frames of an episode, which lack those before them,
    are left out. Labels are the physical variables, grouped by episode; `None` where none is recorded.

    Attributes:
        columns: what tables say of a frame besides: its episode, and its step in it.
    """

    noun = "frames"
    unlabelled = "record its variables, such as joints, or name them with --names.state when training"
    """What to do about frames of which nothing is known."""

    def __init__(self, episodes: "Episodes", signal: FrameSignal) -> None:
        self.episodes, self._windows = episodes, episodes.windows(signal.stack, signal.block)
        self.name, self.in_memory, self.skipped = episodes.name, episodes.in_memory, episodes.skipped
        self.shape = episodes.frame
        self.episode = self._windows.episode
        self.step = self._windows.start + (signal.stack - 1) * signal.block
        self.labels = self._known()
        self.columns: Mapping[str, Callable[[int], Any]] = {
            "episode": lambda i: episodes.called[self.episode[i]],
            "step": lambda i: int(self.step[i]),
        }

    def __len__(self) -> int:
        return len(self._windows)

    def key(self, index: int) -> str:
        """What outputs call a frame."""
        return f"{self.episodes.called[self.episode[index]]}:{self.step[index]}"

    def read(self, indices: Any, rng: Rng | None = None) -> Window:
        return self._windows.read(indices)

    def describe(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "name": self.name,
            self.noun: len(self),
            "episodes": len(self.episodes),
            "shape": list(self.shape),
        }

    def _known(self) -> Labels | None:
        if not self.episodes.variables:
            return None
        begins = np.concatenate([[0], np.cumsum(self.episodes.lengths + 1)[:-1]])
        values = self.episodes.states()[begins[self.episode] + self.step]
        names = [f"{self.name}/{one}" for one in self.episodes.called]
        numbers = np.array([number_of(name) for name in names], np.int64)
        return Labels(
            values, self.episodes.variables, numbers[self.episode], group_names=_named(numbers, names)
        )


def _named(numbers: NDArray[np.int64], names: Sequence[str]) -> dict[int, str]:
    return dict(zip(numbers.tolist(), names, strict=True))

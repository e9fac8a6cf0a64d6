"""Windows of episodes, as the trainer reads them."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.signals.base import HELD_OUT_SHARE, LEAST_HELD_OUT
from openjepa.signals.frames import FrameSignal, Window
from openjepa.signals.readers.skipped import left_out

if TYPE_CHECKING:
    from openjepa.worlds.episodes import Episodes


LEAST_EPISODES, MOST_EPISODES = 4, 64
"""Episodes held out."""
HELD_OUT_WINDOWS, HELD_OUT_FRAMES = 256, 1024
"""Held-out windows, and frames of them, that health is measured on; not more, since it looks at all at once."""


class EpisodeWindows:
    """Windows of `frames` frames, `block` environment steps apart, and the episodes that they are of.

    Raises:
        UserError: no episode is long enough.
    """

    noun = "windows"
    labels = None

    def __init__(self, episodes: "Episodes", frames: int, block: int) -> None:
        self.episodes, self.windows = episodes, episodes.windows(frames, block)
        self.name, self.in_memory = episodes.name, episodes.in_memory

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a window: frames, channels, rows, columns."""
        return self.windows.shape

    @property
    def held_out(self) -> int:
        """The most windows that health is measured on."""
        return min(HELD_OUT_WINDOWS, max(LEAST_HELD_OUT, HELD_OUT_FRAMES // self.windows.steps))

    def read(self, indices: Any, rng: Rng | None = None) -> Window:
        return self.windows.read(indices)

    def fit(self, signal: FrameSignal) -> FrameSignal:
        """The signal with the frames' shape and the statistics of the actions that are trained on."""
        kept: dict[str, Any] = {"stack": signal.stack, "block_actions": signal.block_actions}
        cameras = self.episodes.cameras
        kept |= {"camera": cameras.names, "camera_as": cameras.arranged, "white": cameras.white}
        behind = self.windows.frame[0] // signal.channels if cameras.arranged == "channels" else 1
        if signal.channels * behind == self.windows.frame[0] and behind in (1, len(cameras.names)):
            for name in ("mean", "std"):  # of each camera's channels alike
                values = getattr(signal, name)
                kept[name] = values if len(values) == 1 else values * behind
        return self.windows.signal(**self.trained.action_scale(), **kept)

    @property
    def trained(self) -> "Episodes":
        """The episodes to train on."""
        return self.episodes.subset(self.split()[0].tolist())

    def split(self) -> tuple[Tensor, Tensor]:
        """Numbers of the episodes to train on and of those held out, the same ones whatever the run's seed.

        Raises:
            UserError: fewer than two episodes.
        """
        total = len(self.episodes)
        if total < 2:
            raise UserError(f"{self.name} has {total} episode: give at least two, of which one is held out")
        count = min(max(LEAST_EPISODES, round(HELD_OUT_SHARE * total)), MOST_EPISODES, total // 2)
        order = torch.randperm(total, generator=torch.Generator().manual_seed(0))
        return order[count:].sort().values, order[:count].sort().values

    def hold_out(self) -> tuple[Tensor, Window]:
        """Windows to train on, ascending, and some of other episodes, mixed: up to 256, of up to 1,024 frames.

        Raises:
            UserError: too few held-out windows to measure health on.
        """
        _, episodes = self.split()
        out = torch.isin(torch.from_numpy(self.windows.episode), episodes)
        rows, mixed = (~out).nonzero()[:, 0], out.nonzero()[:, 0]
        if len(mixed) < LEAST_HELD_OUT:
            raise UserError(
                f"{self.name}: its {len(episodes)} held-out episodes give {len(mixed)} windows, health needs "
                f"{LEAST_HELD_OUT}: give more or longer episodes"
            )
        order = torch.randperm(len(mixed), generator=torch.Generator().manual_seed(0))
        return rows, self.read(mixed[order[: self.held_out]])

    @property
    def remark(self) -> str:
        """Which episodes are left out, and why, in a sentence; empty where none are."""
        missing = self.episodes.skipped
        return left_out(self.name, missing, len(self.episodes), "others", "episode") if missing else ""

    def describe(self) -> dict[str, Any]:
        """The data in plain values, as `Samples` asks; `about` says how the episodes were recorded."""
        episodes, windows = self.episodes, self.windows
        return {
            "name": self.name,
            self.noun: len(self),
            "episodes": len(episodes),
            "frames": windows.steps,
            "gaps": windows.gaps,
            "shape": list(episodes.frame),
            "variables": list(episodes.variables),
            "fingerprint": episodes.fingerprint,
            "contents": episodes.contents,
            "skipped": [[one.name, one.reason] for one in (*episodes.skipped, *windows.skipped)],
            "about": dict(episodes.about),
        }

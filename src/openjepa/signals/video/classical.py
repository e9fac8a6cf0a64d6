"""What a user can have of clips without training: raw pixels, and Fisher vectors of edges and of motion."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from openjepa.errors import UserError
from openjepa.signals.images.fisher import Mixture, describe, edge_maps, gradient, oriented
from openjepa.signals.video.flow import optical_flow

Level = Literal["none", "quick", "all"]
"""Which: none; raw pixels and edges, in seconds a thousand clips; motion too, in minutes."""

PIXEL_SIDE = 16  # raw pixels are averaged down to this longer side
EDGE_SIDE, MOTION_SIDE = 128, 64  # and frames whose edges, and whose motion is looked at
FITTED, SAMPLED = 400, 200  # clips that mixtures are fitted on, and descriptors of each
STILL = 0.2
"""Pixels a frame below which nothing moves."""

Rows = NDArray[np.int64]
Progress = Callable[[str, int, int], None]


class Clips(Protocol):
    """What the features need of a set of clips; `read` gives uint8 `[B, T, C, H, W]`."""

    shape: tuple[int, ...]

    def __len__(self) -> int: ...
    def read(self, indices: Any) -> Tensor: ...


def classical(level: str = "all", minutes: float = 20.0) -> list[Any]:
    """The features of that `Level`, cheapest first; `minutes` bounds what each takes of a CPU to encode all clips.

    Raises:
        UserError: no such level.
    """
    if level not in get_args(Level):
        raise UserError(f"unknown classical features {level!r}; choose from {', '.join(get_args(Level))}")
    quick: list[Any] = [] if level == "none" else [Pixels(), Edges(minutes)]
    return [*quick, Motion(minutes)] if level == "all" else quick


class Pixels:
    """Raw pixels in 0..1: of the middle frame, the mean frame, how much they change, averaged down to 16 px."""

    name = "raw pixels"

    def fit(self, clips: Clips, **options: object) -> "Encoded":
        """For clips of that size; nothing is learned."""
        channels = clips.shape[1]
        size = _within(clips.shape, PIXEL_SIDE)
        count = channels * size[0] * size[1]
        dims = {"middle frame": count, "mean frame": count, "mean frame and change": 2 * count}
        return Encoded(self.name, dims, lambda clip, names: _pixels(_shrunk(clip, size), names))


def _pixels(frames: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    mean = frames.mean(0)
    change = frames.diff(dim=0).abs().mean(0) if len(frames) > 1 else torch.zeros_like(mean)
    every = {
        "middle frame": frames[len(frames) // 2],
        "mean frame": mean,
        "mean frame and change": torch.cat([mean, change]),
    }
    return {name: every[name].flatten() for name in names}


class FisherVectors:
    """Fisher vectors of descriptors of frames; fitted on unlabelled clips.

    Args:
        minutes: an upper bound on the CPU minutes of encoding: where more would be needed, of fewer frames.
    """

    name: str
    cell, block = 6, 4
    """Sides of a cell in pixels, of a block in cells."""
    side: int
    """Longer side that larger frames are averaged down to."""
    frames: int
    """Frames of a clip that are looked at, at most."""
    cost: float
    """CPU seconds that one takes where it has `side`."""

    def __init__(self, minutes: float = 20.0) -> None:
        self.minutes = minutes

    def maps(self, frames: Tensor, at: Tensor) -> Tensor:
        """`[n, bins, H, W]` of frames `[T, C, H, W]` in 0..1, of those at n places in time."""
        raise NotImplementedError

    def fit(
        self,
        clips: Clips,
        *,
        total: int | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> "Encoded":
        """The mixture of `clips`, for encoding `total` clips (default: as many as there are)."""
        total = total or len(clips)
        size = _within(clips.shape, self.side)
        affordable = int(60 * self.minutes / (self.cost * total))
        count = max(1, min(self.frames, clips.shape[0], affordable))
        notes = []
        if affordable < min(self.frames, clips.shape[0]):
            notes.append(f"{self.name}: {count} frames a clip, to stay within {self.minutes:g} CPU minutes.")

        def descriptors(clip: Tensor) -> tuple[Tensor, Tensor]:
            at = ((torch.arange(count) + 0.5) * len(clip) / count).long()
            found, places = describe(self.maps(_shrunk(clip, size), at), self.cell, self.block)
            return found.flatten(0, 1), places.repeat(len(found), 1)

        rng = np.random.default_rng([seed, 9])
        rows = np.sort(rng.permutation(len(clips))[:FITTED])
        sample, places = [], []
        for done, row in enumerate(rows.tolist()):
            found, where = descriptors(clips.read([row])[0])
            some = torch.from_numpy(rng.permutation(len(found))[:SAMPLED])
            sample.append(found[some])
            places.append(where[some])
            if progress:
                progress(self.name, done + 1, len(rows))
        mixture = Mixture.fit(torch.cat(sample), torch.cat(places), seed)
        name = f"{len(mixture.weights)} Gaussians"
        return Encoded(
            self.name,
            {name: mixture.dims},
            lambda clip, names: {name: mixture.encode(*descriptors(clip))},
            notes,
        )


class Edges(FisherVectors):
    """Fisher vectors of dense histograms of gradients, and where they lie."""

    name = "Fisher vectors of HOG"
    side, frames, cost = EDGE_SIDE, 4, 2e-3

    def maps(self, frames: Tensor, at: Tensor) -> Tensor:
        return edge_maps(frames[at])


class Motion(FisherVectors):
    """Fisher vectors of how frames move (HOF) and of where that changes (MBH; Wang et al. 2013), by optical flow."""

    name = "Fisher vectors of motion"
    cell = 4
    side, frames, cost = MOTION_SIDE, 8, 4e-3

    def maps(self, frames: Tensor, at: Tensor) -> Tensor:
        grey = frames.mean(1, keepdim=True)
        at = at.clamp(max=max(0, len(frames) - 2))
        flow = optical_flow(grey[at], grey[(at + 1).clamp(max=len(frames) - 1)])
        still = (flow.norm(dim=1, keepdim=True) < STILL).float()
        moving = oriented(flow[:, 0], flow[:, 1], 8, signed=True) * (1 - still)
        boundaries = [
            oriented(across, down, 8, signed=True)
            for across, down in (
                (part[:, 0] / 2 for part in gradient(flow[:, axis, None])) for axis in (0, 1)
            )
        ]
        return torch.cat([moving, still * STILL, *boundaries], 1)


class Encoded:
    """Clips as features, one at a time; a `Source`."""

    def __init__(
        self,
        name: str,
        poolings: dict[str, int],
        encode: Callable[[Tensor, Sequence[str]], dict[str, Tensor]],
        notes: Sequence[str] = (),
    ) -> None:
        self.name, self.poolings, self.encode, self.notes = name, poolings, encode, notes
        self.default = next(iter(poolings))

    def stream(
        self, clips: Clips, rows: Rows, names: Sequence[str]
    ) -> Iterator[tuple[Rows, dict[str, Tensor]]]:
        """Batches of float32 features by name."""
        for start in range(0, len(rows), 64):
            part = rows[start : start + 64]
            found = [self.encode(clip, names) for clip in clips.read(part)]
            yield part, {name: torch.stack([one[name] for one in found]).float() for name in names}


def _within(shape: Sequence[int], side: int) -> tuple[int, int]:
    """Height and width of clips `(T, C, H, W)` brought down to a longer side."""
    height, width = shape[2:]
    scale = min(1.0, side / max(height, width))
    return max(1, math.floor(height * scale + 0.5)), max(1, math.floor(width * scale + 0.5))


def _shrunk(clip: Tensor, size: tuple[int, int]) -> Tensor:
    """Frames `[T, C, H, W]` in 0..1, averaged down."""
    frames = clip.float() / 255 if clip.dtype == torch.uint8 else clip.float()
    return frames if tuple(frames.shape[2:]) == size else adaptive_avg_pool2d(frames, size)

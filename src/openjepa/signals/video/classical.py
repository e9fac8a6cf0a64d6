"""What a user can have of clips without training: raw pixels, Fisher vectors of edges, histograms of motion."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from openjepa.signals.classical import Rows, of_level
from openjepa.signals.images.fisher import GaussianMixture, describe, edge_maps, gradient, oriented
from openjepa.signals.video.flow import optical_flow

PIXEL_SIDE = 16  # raw pixels are averaged down to this longer side
FITTED, SAMPLED = 400, 200  # clips that mixtures are fitted on, and descriptors of each
STILL = 0.2
"""Pixels a frame below which nothing moves."""
MOVES = 8
"""Directions of motion."""
GRID, GRID_NAME = (2, 4, 4), "2 x 4 x 4 cells"
"""Times, rows and columns of histograms of motion."""

Progress = Callable[[str, int, int], None]
Encode = Callable[[Tensor, Sequence[str]], dict[str, Tensor]]


class Clips(Protocol):
    """What the features need of a set of clips; `read` gives uint8 `[B, T, C, H, W]`."""

    shape: tuple[int, ...]

    def __len__(self) -> int: ...
    def read(self, indices: Any) -> Tensor: ...


def classical(level: str = "all", minutes: float = 20.0) -> list[Any]:
    """The features of that `Level`, cheapest first; `minutes` bounds what each takes of a CPU to encode all clips.

    `quick` are raw pixels and edges, in seconds a thousand clips; motion takes minutes.

    Raises:
        UserError: no such level.
    """
    return of_level(level, [ClipPixels(), Edges(minutes)], [MotionHistograms(minutes)])


class ClipPixels:
    """Raw pixels in 0..1: of the middle frame, the mean frame, how much they change, averaged down to 16 px."""

    name = "raw pixels"

    def fit(self, clips: Clips, **options: object) -> "EncodedFrames":
        """For clips of that size; nothing is learned."""
        channels = clips.shape[1]
        size = _within(clips.shape, PIXEL_SIDE)
        count = channels * size[0] * size[1]
        dims = {"middle frame": count, "mean frame": count, "mean frame and change": 2 * count}
        return EncodedFrames(self.name, dims, lambda clip, names: _pixels(_shrunk(clip, size), names))


def _pixels(frames: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    mean = frames.mean(0)
    change = frames.diff(dim=0).abs().mean(0) if len(frames) > 1 else torch.zeros_like(mean)
    every = {
        "middle frame": frames[len(frames) // 2],
        "mean frame": mean,
        "mean frame and change": torch.cat([mean, change]),
    }
    return {name: every[name].flatten() for name in names}


class Bounded:
    """Features of some frames of a clip, as many as fit into a bound on time.

    Args:
        minutes: an upper bound on the CPU minutes of encoding: where more would be needed, of fewer frames.
    """

    name: str
    side: int
    """Longer side that larger frames are averaged down to."""
    frames: int
    """Frames of a clip that are looked at, at most."""
    cost: float
    """CPU seconds that one takes where it has `side`."""

    def __init__(self, minutes: float = 20.0) -> None:
        self.minutes = minutes

    def planned(self, clips: Clips, total: int | None) -> tuple[tuple[int, int], int, list[str]]:
        """The frames' size, how many are looked at, and what a reader should know of that."""
        wanted = min(self.frames, clips.shape[0])
        count = max(1, min(wanted, int(60 * self.minutes / (self.cost * (total or len(clips))))))
        said = f"{self.name}: {count} of {wanted} frames a clip, to stay within {self.minutes:g} CPU minutes."
        return _within(clips.shape, self.side), count, [said] if count < wanted else []


def _spread(length: int, count: int) -> Tensor:
    """Numbers of `count` frames, evenly apart."""
    return ((torch.arange(count) + 0.5) * length / count).long()


class Edges(Bounded):
    """Fisher vectors of dense histograms of gradients and where they lie; fitted on unlabelled clips."""

    name = "Fisher vectors of HOG"
    side, frames, cost = 128, 4, 3e-3
    cell, block = 6, 4  # sides in pixels, and in cells

    def fit(
        self,
        clips: Clips,
        *,
        total: int | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> "EncodedFrames":
        """The mixture of `clips`, for encoding `total` clips (default: as many as there are)."""
        size, count, notes = self.planned(clips, total)

        def descriptors(clip: Tensor) -> tuple[Tensor, Tensor]:
            frames = _shrunk(clip[_spread(len(clip), count)], size)
            found, places = describe(edge_maps(frames), self.cell, self.block)
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
        mixture = GaussianMixture.fit(torch.cat(sample), torch.cat(places), seed)
        name = f"{len(mixture.weights)} Gaussians"
        encode: Encode = lambda clip, names: {name: mixture.encode(*descriptors(clip))}  # noqa: E731
        return EncodedFrames(self.name, {name: mixture.dims}, encode, notes)


class MotionHistograms(Bounded):
    """Histograms of optical flow (HOF) and of where it changes (MBH; Wang et al. 2013) on a grid of the clip."""

    name = "HOF and MBH"
    side, frames, cost = 64, 8, 2.5e-3

    def fit(self, clips: Clips, *, total: int | None = None, **options: object) -> "EncodedFrames":
        """For clips of that size; nothing is learned."""
        size, count, notes = self.planned(clips, total)
        encode: Encode = lambda clip, names: {GRID_NAME: motion(_shrunk(clip, size), count)}  # noqa: E731
        return EncodedFrames(self.name, {GRID_NAME: math.prod(GRID) * (3 * MOVES + 1)}, encode, notes)


def motion(frames: Tensor, count: int) -> Tensor:
    """Square roots of histograms of `count` pairs of frames that follow one another, of `[T, C, H, W]` in 0..1."""
    grey = frames.mean(1, keepdim=True)
    at = _spread(len(frames), count).clamp(max=max(0, len(frames) - 2))
    flow = optical_flow(grey[at], grey[(at + 1).clamp(max=len(frames) - 1)])
    still = (flow.norm(dim=1, keepdim=True) < STILL).float()
    maps = [oriented(flow[:, 0], flow[:, 1], MOVES, signed=True) * (1 - still), still * STILL]
    for axis in (0, 1):
        across, down = (part[:, 0] / 2 for part in gradient(flow[:, axis, None]))
        maps.append(oriented(across, down, MOVES, signed=True))
    cells = adaptive_avg_pool2d(torch.cat(maps, 1), GRID[1:])
    return torch.stack([part.mean(0) for part in cells.tensor_split(GRID[0])]).nan_to_num().sqrt().flatten()


class EncodedFrames:
    """Clips as features, one at a time; a `FeatureSource`."""

    def __init__(
        self,
        name: str,
        poolings: dict[str, int],
        encode: Encode,
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

"""Frames of several cameras as one: as channels, or side by side as views."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from openjepa.worlds.pictures import Pixels, resized

Arrangement = Literal["channels", "views"]


@dataclass(frozen=True)
class Cameras:
    """Whose pictures a frame holds, and how.

    Attributes:
        names: of the cameras, in their order; none: the only one.
        arranged: `channels`: behind one another, each of the frame's full size. `views`: beside one another in one
            picture, on a square grid whose cells are filled row by row; what is left over is black.
        white: the value of white in frames of floating numbers; `None`: found in the data.
    """

    names: tuple[str, ...] = ()
    arranged: Arrangement = "channels"
    white: float | None = None


ONLY = Cameras()
"""The only camera of a set."""


class CameraSource(Protocol):
    """The frames of one camera, as `records.EpisodeSource`."""

    @property
    def files(self) -> list[Path]: ...
    def frames(self, number: int, first: int, stop: int) -> Pixels: ...
    def info(self, number: int) -> Mapping[str, Any]: ...


class JoinedCameras:
    """The frames of several cameras as one, as `records.EpisodeSource`.

    Args:
        size: side of a joined frame; `None`: pictures stay as they are, and all must be of one size.
    """

    def __init__(self, sources: Sequence[CameraSource], arranged: Arrangement, size: int | None) -> None:
        self._sources, self._arranged, self._size = list(sources), arranged, size
        self._side = math.isqrt(len(self._sources) - 1) + 1
        """Rows and columns of the grid of views."""

    @property
    def files(self) -> list[Path]:
        """Each once, in order."""
        return list(dict.fromkeys(file for source in self._sources for file in source.files))

    def frames(self, number: int, first: int, stop: int) -> Pixels:
        channels, cell = self._arranged == "channels", self._size
        if cell is not None and not channels:
            cell = max(1, cell // self._side)
        parts = [resized(source.frames(number, first, stop), cell) for source in self._sources]
        shapes = {part.shape[2:] for part in parts}
        if len(shapes) > 1:
            said = " and ".join(f"{height}x{width}" for height, width in sorted(shapes))
            raise ValueError(f"its cameras have pictures of {said}: open them with one size")
        most = max(part.shape[1] for part in parts)
        parts = [np.repeat(part, most, 1) if part.shape[1] == 1 else part for part in parts]
        return np.concatenate(parts, 1) if channels else self._grid(parts)

    def info(self, number: int) -> Mapping[str, Any]:
        return self._sources[0].info(number)

    def _grid(self, parts: Sequence[Pixels]) -> Pixels:
        count, channels, height, width = parts[0].shape
        side = self._side
        whole = (side * height, side * width) if self._size is None else (self._size, self._size)
        canvas = np.zeros((count, channels, *whole), np.uint8)
        for i, part in enumerate(parts):
            top, left = i // side * height, i % side * width
            canvas[:, :, top : top + height, left : left + width] = part
        return canvas


def joined(sources: Sequence[CameraSource], cameras: Cameras, size: int | None) -> Any:
    """The one camera's frames, or those of several as one."""
    return sources[0] if len(sources) == 1 else JoinedCameras(sources, cameras.arranged, size)

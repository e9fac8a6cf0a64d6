"""Moving Fashion-MNIST: an item of clothing drifts across a black field, generated from Fashion-MNIST as it is read."""

import math

import numpy as np
import torch
from torch import Tensor

from openjepa.common.contents import Contents, of_array
from openjepa.errors import UserError
from openjepa.signals.base import Labels
from openjepa.signals.images.decode import fit, recolour
from openjepa.signals.images.fashion_mnist import open_fashion_mnist
from openjepa.signals.readers.skipped import Skipped
from openjepa.signals.video.clips import ClipCut, ClipSet

NAMES = ("moving-fashion-mnist", "moving-fashion-mnist-direction")
"""Labelled by what moves, and by where it moves."""
SIDE, ITEM, LENGTH = 48, 28, 16
"""Pixels a side of the field and of what moves in it; frames."""
DIRECTIONS = ("right", "down right", "down", "down left", "left", "up left", "up", "up right")
SPEEDS = (0.4, 0.8, 1.2)
"""In pixels a frame: the item stays in the field for all frames."""


class Rendered:
    """Films drawn when asked for.

    Args:
        items: uint8 `[N, 28, 28]`, one a film.
        corners: `[N, 16, 2]` whole numbers, the top left corner of the item in each frame.
        shape: C, H, W of what is filled in.
    """

    in_memory = True

    def __init__(self, items: Tensor, corners: np.ndarray, shape: tuple[int, int, int]) -> None:
        self.items, self.corners, self.shape = items, corners, shape

    def __len__(self) -> int:
        return len(self.items)

    def fill(self, clip: Tensor, row: int, cut: ClipCut, place: float, drawn: bool) -> bool:
        at = cut.at(LENGTH, 1.0, place, drawn)
        frames = torch.zeros(len(at), 1, SIDE, SIDE, dtype=torch.uint8)
        for frame, number in zip(frames, at.round().astype(int).clip(0, LENGTH - 1).tolist(), strict=True):
            top, left = self.corners[row, number].tolist()
            frame[0, top : top + ITEM, left : left + ITEM] = self.items[row]
        clip.copy_(fit(recolour(frames, self.shape[0]), self.shape[1:]))
        return True

    def damaged(self) -> list[Skipped]:
        return []

    def contents(self) -> Contents:
        return of_array(self.items)


def open_moving(
    name: str, split: str, cut: ClipCut, size: tuple[int, int], channels: int | None = None
) -> ClipSet:
    """60,000 films of split `train` or 10,000 of `test`: one item each, one of 8 directions and 3 speeds.

    Raises:
        UserError: there is no such split, no Fashion-MNIST, or frames a second are asked for.
    """
    if cut.fps:
        raise UserError(f"{name} has no time stamps: set signal.stride, and signal.fps to null")
    items = open_fashion_mnist(split)
    rng = np.random.default_rng([2017, len(items)])
    direction = rng.integers(len(DIRECTIONS), size=len(items))
    speed = np.array(SPEEDS)[rng.integers(len(SPEEDS), size=len(items))]
    angle = direction * (2 * math.pi / len(DIRECTIONS))
    step = speed[:, None] * np.stack([np.sin(angle), np.cos(angle)], 1)  # down, right
    path = step[:, None] * (np.arange(LENGTH) - (LENGTH - 1) / 2)[:, None]  # about its middle
    room = (SIDE - ITEM) / 2
    free = room - np.abs(path[:, 0])
    corners = room + (2 * rng.random((len(items), 2)) - 1)[:, None] * free[:, None] + path
    labels = items.labels if name == NAMES[0] else Labels(direction, DIRECTIONS)
    return ClipSet(
        name,
        Rendered(
            items.read(range(len(items)))[:, 0], corners.round().astype(np.int64), (channels or 1, *size)
        ),
        cut,
        labels=labels,
        splits=("train", "test"),
    )

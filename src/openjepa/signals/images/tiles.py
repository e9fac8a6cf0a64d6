"""Large pictures cut into tiles: each is read at several times the size of the encoder's input, and seen in parts."""

import math
from collections.abc import Iterator
from typing import Any, Self

import torch
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.signals.images.image_set import ImageSet
from openjepa.signals.readers.skipping import Indices

SHARP = 2.0
"""How many times a tile is shrunk at most where `auto` chooses their number,"""
MOST_AUTO = 8
"""and how many of them it puts along a side at most: 64 passes of the encoder a picture."""
HELD_BYTES = 2**28
"""Of whole pictures that are cut at once."""


class TiledImages(ImageSet):
    """Images of which each is a grid of `tiles` x `tiles` parts, and `read` gives one.

    Attributes:
        shape: `(C, H, W)` of a tile.
        cut_up: True: a tile shows a part of its picture, so features are means over `cuts`.
        at_once: pictures whose cuts are best asked for together.
    """

    cut_up = True

    @classmethod
    def of(cls, whole: ImageSet, tiles: int) -> Self:
        """A set of pictures, opened at `tiles` times the size of a tile."""
        found = cls.__new__(cls)
        channels, height, width = whole.shape
        shape = channels, height // tiles, width // tiles
        found.__dict__.update(whole.__dict__ | {"tiles": tiles, "shape": shape, "_statistics": None})
        size = channels * height * width * (1 if whole.bytes else 4)
        found.at_once = max(1, HELD_BYTES // size)
        return found

    at_once: int

    @property
    def remark(self) -> str:
        side = self.shape[-1]
        said = (
            f"each image is cut into {self.tiles} x {self.tiles} tiles of {side} px: a step sees one of it at a random "
            "place, features are means over all"
        )
        return said + (f"; {self._shrunk_by()}" if self.far_shrunk else "")

    def read(self, indices: Indices, rng: Rng | None = None) -> Tensor:
        """One tile of each image, `[B, C, H, W]`: at a random place by a step's `rng`, else in the middle."""
        chosen = torch.as_tensor(indices, dtype=torch.long)
        height, width = self.shape[1:]
        room = torch.tensor([height, width]) * (self.tiles - 1) + 1  # places, from the first to the last
        share = torch.full((len(chosen), 2), 0.5) if rng is None else rng.uniform(len(chosen), 2)
        places = (share * room).long().minimum(room - 1).tolist()
        return torch.stack(
            [
                self._whole([row])[0, :, top : top + height, left : left + width]
                for row, (top, left) in zip(chosen.tolist(), places, strict=True)
            ]
        )

    def cuts(self, indices: Indices) -> Iterator[Tensor]:
        """The tiles of the images, `[B, C, H, W]` each, in row order. Of few images (`at_once`) each is read once."""
        chosen = torch.as_tensor(indices, dtype=torch.long)
        height, width = self.shape[1:]
        parts = chosen.split(self.at_once)
        held = self._whole(parts[0]) if len(parts) == 1 else None
        for place in range(self.tiles**2):
            top, left = place // self.tiles * height, place % self.tiles * width
            cut = (..., slice(top, top + height), slice(left, left + width))
            if held is not None:
                yield held[cut]
            else:
                yield torch.cat([self._whole(part)[cut] for part in parts])

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"tiles": self.tiles}


def suited_tiles(images: ImageSet) -> int:
    """How many tiles along a side `auto` means, for a set that was opened whole at a tile's size."""
    return min(MOST_AUTO, max(1, math.ceil(images.shrunk / SHARP)))

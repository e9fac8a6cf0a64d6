"""What a user can have of images without training: raw pixels, histograms of gradients, a dictionary of patches."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from openjepa.signals.classical import FixedFeatures, of_level
from openjepa.signals.images.dictionary import PatchDictionary, PixelSamples, shrink

PIXEL_SIDE = 32  # raw pixels of larger images are averaged down to this side
HOG_SIDE = 64  # and histograms of gradients see them at this one
BINS = 9  # directions of a gradient, without its sign


def classical(level: str = "all", minutes: float = 20.0) -> list[Any]:
    """The features of that `Level`, cheapest first; `minutes` bounds what fitting and encoding take of a CPU.

    `quick` are raw pixels and HOG, in seconds; `all` takes minutes.

    Raises:
        UserError: no such level.
    """
    return of_level(level, [ImagePixels(), Hog()], [PatchDictionary(minutes=minutes)])


def _fixed(
    name: str,
    size: tuple[int, int],
    functions: Mapping[str, Callable[[Tensor], Tensor]],
    dims: dict[str, int],
) -> FixedFeatures:
    """Functions of pixels in 0..1 of one size."""
    return FixedFeatures(name, functions, dims, lambda batch: (shrink(batch, size),), batch_size=512)


class ImagePixels:
    """Raw pixels in 0..1, averaged down to a side of at most 32."""

    name = "raw pixels"

    def fit(self, images: PixelSamples, **options: object) -> FixedFeatures:
        """For images of that size; nothing is learned."""
        channels, height, width = images.shape
        size = min(height, PIXEL_SIDE), min(width, PIXEL_SIDE)
        dims = {"pixels": channels * size[0] * size[1]}
        return _fixed(self.name, size, {"pixels": lambda pixels: pixels.flatten(1)}, dims)


class Hog:
    """Histograms of oriented gradients (Dalal & Triggs 2005) in cells of 8 and of 4 px; twice that above 32 px.

    Larger images are averaged down to 64 px first. Where an image has less than two cells a side, cells are halved.
    """

    name = "HOG"

    def fit(self, images: PixelSamples, **options: object) -> FixedFeatures:
        """For images of that size; nothing is learned."""
        _, height, width = images.shape
        scale = min(1.0, HOG_SIDE / max(height, width))
        size = max(1, round(height * scale)), max(1, round(width * scale))
        times = math.ceil(max(size) / 32)
        sides = {max(1, min(side * times, min(size) // 2)) for side in (8, 4)}
        functions: dict[str, Callable[[Tensor], Tensor]]
        functions = {f"cells of {cell} px": partial(hog, cell=cell) for cell in sorted(sides, reverse=True)}
        blank = torch.zeros(1, 1, *size)
        dims = {name: function(blank).shape[1] for name, function in functions.items()}
        return _fixed(self.name, size, functions, dims)


def hog(pixels: Tensor, cell: int) -> Tensor:
    """Histograms of gradients `[B, blocks * 36]` of `[B, C, H, W]` in 0..1.

    At each pixel the channel with the strongest gradient counts, split between the two nearest of 9 directions. Cells
    of `cell` px lie in the centre; blocks of 2x2 cells, one cell apart, are brought to length 1, cut at 0.2 and
    brought to length 1 again.
    """
    padded = pad(pixels, (1, 1, 1, 1), mode="replicate")
    across = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    strength, channel = (across.square() + down.square()).max(1, keepdim=True)
    across, down = across.gather(1, channel), down.gather(1, channel)
    place = torch.atan2(down, across) * (BINS / math.pi)  # opposite directions lie 9 bins apart
    strength = strength.sqrt()
    rows, columns = pixels.shape[2] // cell, pixels.shape[3] // cell
    top, left = (pixels.shape[2] - rows * cell) // 2, (pixels.shape[3] - columns * cell) // 2
    histogram = []
    for direction in range(BINS):
        away = (place - direction).remainder_(BINS)
        near = torch.minimum(away, BINS - away).neg_().add_(1).clamp_min_(0).mul_(strength)
        kept = near[:, :, top : top + rows * cell, left : left + columns * cell]
        histogram.append(avg_pool2d(kept, cell))
    cells = torch.cat(histogram, 1)  # [B, 9, rows, columns]
    side = [min(2, rows), min(2, columns)]
    blocks = cells.unfold(2, side[0], 1).unfold(3, side[1], 1)  # [B, 9, r, c, 2, 2]
    blocks = blocks.permute(0, 2, 3, 1, 4, 5).flatten(3)
    return _to_length_one(_to_length_one(blocks).clamp_max(0.2)).flatten(1)


def _to_length_one(blocks: Tensor) -> Tensor:
    return blocks / (blocks.square().sum(-1, keepdim=True) + 1e-4).sqrt()

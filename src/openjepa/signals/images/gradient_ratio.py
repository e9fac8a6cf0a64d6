"""Gradients by ratio: how many times brighter one side of a pixel is than the other, at several scales.

Speckle multiplies what a radar sees: differences grow with brightness, ratios do not (Touzi et al. 1988; the operator
and its scales are SAR-JEPA's, arXiv:2311.15153).
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, pad

from openjepa.errors import UserError
from openjepa.signals.classical import FixedFeatures
from openjepa.signals.images.dictionary import PixelSamples, shrink

SIDE = 64  # larger images are averaged down to this side
RADII = (2, 3, 4, 5)  # of which these are what the paper's are of 224 px
CELLS = (4, 8)


def gradient_ratio(images: Tensor, radii: Sequence[int], offset: float = 0.01) -> Tensor:
    """`[B, len(radii) * C, H, W]` of amplitudes `[B, C, H, W]` in 0..1, scale after scale.

    Two logarithms at each pixel: of the ratio of left to right mean, and of upper to lower, in a square of 2r + 1 px
    about it whose halves both include its own row or column; of these as a vector, the length. Images are mirrored at
    their edges; `offset` is added to all amplitudes.

    Raises:
        UserError: a radius that is not smaller than the image.
    """
    if max(radii) >= min(images.shape[-2:]):
        raise UserError(
            f"gradients by ratio look {max(radii)} px far, and an image has {min(images.shape[-2:])}: use smaller radii"
        )
    height, width = images.shape[-2:]
    scales = []
    for r in radii:
        around = pad(images, (r, r, r, r), mode="reflect") + offset
        tall = avg_pool2d(around, (2 * r + 1, 1), 1)  # [B, C, H, W + 2r]
        wide = avg_pool2d(around, (1, 2 * r + 1), 1)
        sides = avg_pool2d(tall, (1, r + 1), 1).log()  # [B, C, H, W + r]
        ends = avg_pool2d(wide, (r + 1, 1), 1).log()
        across = sides[..., :width] - sides[..., r:]
        down = ends[..., :height, :] - ends[..., r:, :]
        scales.append(torch.hypot(across, down))
    return torch.cat(scales, 1)


class GradientRatios:
    """Gradients by ratio averaged in cells, of images averaged down to at most 64 px."""

    name = "gradients by ratio"

    def fit(self, images: PixelSamples, **options: object) -> FixedFeatures:
        """For images of that size; nothing is learned."""
        channels, height, width = images.shape
        size = min(height, SIDE), min(width, SIDE)
        radii = [r for r in RADII if r < min(size)] or [1]
        functions = {
            f"{cells} x {cells} cells": lambda maps, cells=cells: adaptive_avg_pool2d(maps, cells).flatten(1)
            for cells in CELLS
        }
        dims = {f"{cells} x {cells} cells": len(radii) * channels * cells**2 for cells in CELLS}
        return FixedFeatures(
            self.name,
            functions,
            dims,
            lambda batch: (gradient_ratio(shrink(batch, size), radii),),
            batch_size=512,
        )

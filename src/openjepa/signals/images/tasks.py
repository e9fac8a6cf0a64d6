"""What images ask of features without labels."""

import math

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, one_hot

from openjepa.common.rng import Rng
from openjepa.signals.images.augment import Augment
from openjepa.signals.tasks import Tasks

VIEW = Augment(scale=(0.2, 0.6), flip=0.5)
"""Another view of each image: a part of it, half of them mirrored."""
CELLS = 4
"""Rows and columns of brightness to be decoded, and of what an image looks like."""
DIRECTIONS = 6
"""Directions of edges in a cell."""


def image_tasks(images: Tensor) -> Tasks:
    """The tasks of images `[B, C, H, W]`: bytes, or numbers in the units of their set, as the views are too."""
    if images.dtype != torch.uint8:
        images = images.float()
    grey = [part.float().mean(1, keepdim=True) for part in images.split(64)]
    look = torch.cat([edges(part) for part in grey])
    spread = look.std(0, correction=0)
    return Tasks(
        samples=images,
        look=(look - look.mean(0)) / torch.where(spread > 0, spread, 1.0),
        view=_view,
        coarse=torch.cat([adaptive_avg_pool2d(part, CELLS) for part in grey]).flatten(1),
    )


def edges(grey: Tensor) -> Tensor:
    """How strong edges of each direction are in each cell of `[B, 1, H, W]`: `[B, 96]`.

    Unlike HOG's (`classical.hog`), blocks are not brought to one length: in runs of which the truth was known the
    strength told more.
    """
    across, down = torch.zeros_like(grey), torch.zeros_like(grey)
    across[..., 1:-1] = grey[..., 2:] - grey[..., :-2]
    down[..., 1:-1, :] = grey[..., 2:, :] - grey[..., :-2, :]
    turn = (torch.atan2(down, across) % math.pi) / math.pi  # opposite directions are one
    bins = one_hot((turn[:, 0] * DIRECTIONS).long().clamp_max(DIRECTIONS - 1), DIRECTIONS).permute(0, 3, 1, 2)
    return adaptive_avg_pool2d(bins * torch.hypot(across, down), CELLS).flatten(1)


def _view(part: Tensor, rng: Rng) -> Tensor:
    seen = VIEW(part.float(), rng)
    return seen if part.is_floating_point() else seen.round().to(part.dtype)

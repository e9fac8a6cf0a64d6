"""What images ask of features without labels."""

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from openjepa.rng import Rng
from openjepa.signals.images.augment import Augment
from openjepa.signals.tasks import Tasks

VIEW = Augment(scale=(0.5, 1.0), flip=0.5)
"""Of each image, another: a mild crop, half of them mirrored; what a photograph of the same thing might show."""
COARSE = 4
"""Rows and columns of brightness to be decoded."""


def image_tasks(images: Tensor, seed: int = 0) -> Tasks:
    """Of float images `[B, C, H, W]` in 0..1, the same ones at every call."""
    square = images.shape[-1] == images.shape[-2]
    grey = images.mean(1, keepdim=True)
    return Tasks(
        samples=images,
        view=VIEW(images, Rng(seed, 0)),
        turned=[torch.rot90(images, quarter, (2, 3)) for quarter in ((1, 2, 3) if square else (2,))],
        coarse=adaptive_avg_pool2d(grey, COARSE).flatten(1),
    )

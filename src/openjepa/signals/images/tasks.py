"""What images ask of features without labels."""

from functools import partial

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


def image_tasks(images: Tensor) -> Tasks:
    """Of images `[B, C, H, W]` as their set gives them: bytes, or numbers in its own units, and so are the views."""
    if images.dtype != torch.uint8:
        images = images.float()
    quarters = (1, 2, 3) if images.shape[-1] == images.shape[-2] else (2,)
    coarse = [adaptive_avg_pool2d(part.float().mean(1, keepdim=True), COARSE) for part in images.split(64)]
    return Tasks(
        samples=images,
        view=_view,
        turns=tuple(partial(torch.rot90, k=k, dims=(2, 3)) for k in quarters),
        coarse=torch.cat(coarse).flatten(1),
    )


def _view(part: Tensor, rng: Rng) -> Tensor:
    seen = VIEW(part.float(), rng)
    return seen if part.is_floating_point() else seen.round().to(part.dtype)

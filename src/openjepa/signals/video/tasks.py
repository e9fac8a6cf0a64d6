"""What clips ask of features without labels."""

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from openjepa.common.rng import Rng
from openjepa.signals.images.augment import Augment
from openjepa.signals.images.tasks import CELLS, edges
from openjepa.signals.tasks import Tasks
from openjepa.signals.video.augment import augment_clips

VIEW = Augment(scale=(0.2, 0.6), flip=0.5)
"""Of each clip, another: a part of its picture, half of them mirrored, of another time."""


def video_tasks(clips: Tensor) -> Tasks:
    """Of clips uint8 `[B, T, C, H, W]`."""
    grey = torch.stack([clip.float().mean(1) for clip in clips])  # [B, T, H, W]
    middle, change = grey[:, grey.shape[1] // 2, None], _change(grey)
    look = torch.cat([edges(middle), adaptive_avg_pool2d(change, CELLS).flatten(1)], 1)
    spread = look.std(0, correction=0)
    coarse = torch.cat(
        [adaptive_avg_pool2d(part, CELLS).flatten(1) for part in (grey.mean(1, True), change)], 1
    )
    return Tasks(
        samples=clips,
        look=(look - look.mean(0)) / torch.where(spread > 0, spread, 1.0),
        view=_view,
        coarse=coarse,
    )


def _change(grey: Tensor) -> Tensor:
    """How much each pixel changes from frame to frame, `[B, 1, H, W]`; nothing in a still."""
    if grey.shape[1] == 1:
        return torch.zeros_like(grey)
    return grey.diff(dim=1).abs().mean(1, keepdim=True)


def _view(part: Tensor, rng: Rng) -> Tensor:
    """The first or the last half of each clip at half its speed, and another crop of it."""
    length = part.shape[1]
    late = rng.uniform(len(part)) < 0.5
    half = torch.arange(length) // 2
    shown = torch.stack([half, half + length - 1 - (length - 1) // 2])[late.long()].to(part.device)  # [B, T]
    slow = part[torch.arange(len(part), device=part.device)[:, None], shown]
    seen = augment_clips(VIEW, slow.float() / 255, rng, (part.shape[3], part.shape[4]))
    return (seen * 255).round().to(part.dtype)

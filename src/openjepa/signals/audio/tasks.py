"""What clips of sound ask of features without labels."""

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from openjepa.common.rng import Rng
from openjepa.signals.audio.augment import SoundAugment, augment_sounds
from openjepa.signals.audio.batch import Sounds
from openjepa.signals.tasks import Tasks

VIEW = SoundAugment(gain=6.0, equaliser=6.0, crop=0.6, stretch=1.15, shift=0.05)
"""Of each clip, another: a part of its time, at another speed and pitch, through another microphone."""
BANDS, TIMES = 8, 4
"""Cells of the coarse form."""


def sound_tasks(batch: Sounds, mels: Tensor) -> Tasks:
    """Of clips and their spectrograms.

    Look: mean, spread and change of each band. View: see `VIEW`. Coarse: the level in 8 x 4 cells of frequency and of
    the clip's own time, which tells it from the same clip played backwards.
    """
    look = statistics(mels, batch.valid)
    spread = look.std(0, correction=0)
    return Tasks(
        samples=batch,
        look=(look - look.mean(0)) / torch.where(spread > 0, spread, 1.0),
        view=_view,
        coarse=coarse(mels, batch.valid),
    )


def statistics(values: Tensor, valid: Tensor) -> Tensor:
    """`[B, 3 * bands]` of `[B, bands, T]`: mean and deviation over the frames that are there, and mean absolute change
    from one to the next."""
    there = valid[:, None].to(values.dtype)
    count = there.sum(-1).clamp_min(1)
    mean = (values * there).sum(-1) / count
    deviation = (((values - mean[..., None]).square() * there).sum(-1) / count).sqrt()
    both = there[..., 1:] * there[..., :-1]
    change = (values.diff(dim=-1).abs() * both).sum(-1) / both.sum(-1).clamp_min(1)
    return torch.cat([mean, deviation, change], 1)


def coarse(values: Tensor, valid: Tensor, bands: int = BANDS, times: int = TIMES) -> Tensor:
    """`[B, bands * times]`: means over cells of `[B, F, T]`, the time cut into equal parts of what is there."""
    length = valid.sum(1, keepdim=True).clamp_min(1)
    part = (torch.arange(values.shape[2], device=values.device) * times).div(length, rounding_mode="floor")
    inside = (part[:, None] == torch.arange(times, device=values.device)[:, None]) & valid[
        :, None
    ]  # [B, times, T]
    inside = inside.to(values.dtype)
    count = inside.sum(-1)
    rows = adaptive_avg_pool2d(values, (min(bands, values.shape[1]), values.shape[2]))
    sums = torch.einsum("bft,bct->bfc", rows, inside)
    whole = (rows * valid[:, None]).sum(-1, keepdim=True) / length[..., None]
    return torch.where(count[:, None] > 0, sums / count[:, None].clamp_min(1), whole).flatten(1)


def _view(part: Sounds, rng: Rng) -> Sounds:
    assert part.mels is not None
    seen = augment_sounds(VIEW, part.mels, part.valid, rng)
    return Sounds(seen.valid, seen.mels)

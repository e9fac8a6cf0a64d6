"""Augmentation of spectrograms: levels, a random equaliser, and views cut and stretched in time and frequency."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import grid_sample

from openjepa.common.rng import Rng
from openjepa.config import Config

DECIBEL = math.log(10) / 10
"""In natural logarithms of power."""
CURVES = 4
"""Half waves over all bands of which an equaliser's curve is the sum, at most."""


class SoundAugment(Config):
    """What training does to clips: nothing, by default."""

    gain: float = Field(0.0, ge=0, le=120)
    """Decibels: each clip is louder or softer by up to this (A-JEPA: 6)."""
    equaliser: float = Field(0.0, ge=0, le=120)
    """Decibels: standard deviation of a smooth random curve over the bands, as rooms and microphones have."""
    crop: float = Field(1.0, gt=0, le=1)
    """Least share of a clip's time that a view shows, at a random place."""
    stretch: float = Field(1.0, ge=1, le=4)
    """A view's time runs slower or faster by up to this factor."""
    shift: float = Field(0.0, ge=0, le=0.5)
    """A view's bands are moved up or down by up to this share of all; what moves in is a repeated edge."""
    views: Literal[1, 2] = 1
    """2: context and target are views of a clip that are drawn apart, and the predictor is told where the target lies
    as the context counts."""

    @property
    def moves(self) -> bool:
        """Whether views are cut, stretched or shifted."""
        return self.crop < 1 or self.stretch > 1 or self.shift > 0


@dataclass(frozen=True, eq=False)
class SoundView:
    """Spectrograms `[B, bands, T]`, which frames are there `[B, T]`, and where what they show was: at row r and frame t
    is what the clip has at `r + up` and `first + t * speed`, each `[B]`."""

    mels: Tensor
    valid: Tensor
    up: Tensor
    first: Tensor
    speed: Tensor


def augment_sounds(config: SoundAugment, mels: Tensor, valid: Tensor, rng: Rng) -> SoundView:
    """A random view of each clip.

    Args:
        mels: `[B, bands, T]`, natural logarithms of power.
        valid: bool `[B, T]`.
    """
    batch, bands = mels.shape[:2]
    device = mels.device
    draws = rng.uniform(batch, 5).to(device)
    waves = rng.normal(batch, CURVES).to(device)
    up = torch.zeros(batch, device=device)
    first, speed = torch.zeros(batch, device=device), torch.ones(batch, device=device)
    if config.moves:
        length = valid.sum(1)
        speed = config.stretch ** (2 * draws[:, 0] - 1)
        shown = length * (config.crop + (1 - config.crop) * draws[:, 1])
        first = (length - shown) * draws[:, 2]
        up = (2 * draws[:, 3] - 1) * config.shift * bands
        mels, valid = _moved(mels, up, first, speed, first + shown)
    if config.gain:
        mels = mels + (2 * draws[:, 4] - 1)[:, None, None] * config.gain * DECIBEL
    if config.equaliser:
        half = torch.arange(1, CURVES + 1, device=device, dtype=mels.dtype)[:, None] * math.pi
        shapes = torch.cos(half * (torch.arange(bands, device=device) + 0.5) / bands)  # [CURVES, bands]
        curve = (waves @ shapes) * (config.equaliser * DECIBEL * math.sqrt(2 / CURVES))
        mels = mels + curve[:, :, None]
    return SoundView(mels, valid, up, first, speed)


def _moved(mels: Tensor, up: Tensor, first: Tensor, speed: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """Spectrograms sampled at other rows and frames, and which frames still lie before `end` `[B]`."""
    _, bands, frames = mels.shape
    rows = torch.arange(bands, device=mels.device) + up[:, None]  # [B, bands]
    at = first[:, None] + torch.arange(frames, device=mels.device) * speed[:, None]  # [B, T]
    x, y = (2 * at + 1) / frames - 1, (2 * rows + 1) / bands - 1
    shape = (len(mels), bands, frames)
    grid = torch.stack([x[:, None].expand(shape), y[:, :, None].expand(shape)], -1).to(mels.dtype)
    moved = grid_sample(mels[:, None], grid, mode="bilinear", padding_mode="border", align_corners=False)
    valid = at < end[:, None]
    valid[:, 0] = True
    return moved[:, 0], valid


def seen_from_context(context: SoundView, target: SoundView, positions: Tensor, patch: int) -> Tensor:
    """Positions `[1, N, 2]` of a target's tokens, in patches, as the context counts: `[B, N, 2]`."""
    pixels = (positions + 0.5) * patch - 0.5
    row = pixels[..., 0] + (target.up - context.up)[:, None]
    clip = target.first[:, None] + pixels[..., 1] * target.speed[:, None]
    frame = (clip - context.first[:, None]) / context.speed[:, None]
    return (torch.stack([row, frame], -1) + 0.5) / patch - 0.5

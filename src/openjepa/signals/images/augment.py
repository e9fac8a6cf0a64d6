"""Augmentation of whole batches: one affine map in image space, one in colour space, one grouped convolution.

No loop over samples, no random number that does not come from the step's `Rng`: a process's slice of the global batch
is augmented as it would be on one process.

Differences from torchvision's transforms, all made for speed: crops have continuous corners; colour operations run in
a fixed order (brightness, contrast, saturation, hue, greyscale) and clamp once, at the end; hue turns in YIQ, as in
NVIDIA DALI, not in HSV; the blur's kernel has no fixed width.
"""

import math
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.config import Config

LUMA = (0.299, 0.587, 0.114)
_TRIES = 10  # as in torchvision: crop shapes drawn per image until one fits
_YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


@dataclass(frozen=True)
class Parameters:
    """What was done to each image of a batch, for a predictor that is told about it.

    Attributes:
        crop: `[B, 4]` top, left, height, width as fractions of the image.
        flip, grey, solarize: `[B]` bool.
        brightness, contrast, saturation: `[B]` factors, 1 = unchanged.
        hue: `[B]` turns, 0 = unchanged.
        blur: `[B]` standard deviation in pixels, 0 = none.
    """

    crop: Tensor
    flip: Tensor
    brightness: Tensor
    contrast: Tensor
    saturation: Tensor
    hue: Tensor
    grey: Tensor
    blur: Tensor
    solarize: Tensor


class Augment(Config):
    """Random resized crop, flip, colour jitter, greyscale, blur and solarisation, each with its own probability.

    The defaults are I-JEPA's: a crop of 30-100 % of the area and nothing else. `Augment.lejepa` is LeJEPA's.
    Hue, saturation and greyscale do nothing to one-channel images.
    """

    size: int | None = Field(None, ge=1, le=4096)
    """Height and width of the result; none: those of the input."""
    scale: tuple[float, float] = (0.3, 1.0)
    """Area of the crop, as a fraction of the image's."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Width over height of the crop in pixels, log-uniform."""
    flip: float = Field(0.0, ge=0, le=1)
    """Probability of a left-right mirror image."""
    jitter: float = Field(0.0, ge=0, le=1)
    """Probability of colour jitter by the following four strengths."""
    brightness: float = Field(0.4, ge=0, le=1)
    """The factor is uniform in 1 ± this."""
    contrast: float = Field(0.4, ge=0, le=1)
    saturation: float = Field(0.2, ge=0, le=1)
    hue: float = Field(0.1, ge=0, le=0.5)
    """The largest turn of the hue, in turns of the circle: uniform in ± this."""
    grey: float = Field(0.0, ge=0, le=1)
    """Probability of greyscale."""
    blur: float = Field(0.0, ge=0, le=1)
    """Probability of a Gaussian blur."""
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """Standard deviation in pixels of the result; 2 pixels suit 224, on 32-pixel images take (0.1, 0.6)."""
    solarize: float = Field(0.0, ge=0, le=1)
    """Probability of inverting the pixels above one half."""

    @classmethod
    def lejepa(cls, size: int | None = None, scale: tuple[float, float] = (0.3, 1.0)) -> Self:
        """LeJEPA's views (Balestriero & LeCun, arXiv:2511.08544): global with this scale, local with (0.05, 0.3)."""
        return cls(size=size, scale=scale, flip=0.5, jitter=0.8, grey=0.2, blur=0.5, solarize=0.2)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name, low, high in (
            ("scale", *self.scale),
            ("ratio", *self.ratio),
            ("blur_sigma", *self.blur_sigma),
        ):
            if not 0 < low <= high:
                raise ValueError(f"{name}=({low}, {high}) must be two positive numbers in ascending order")
        if self.scale[1] > 1:
            raise ValueError(f"scale reaches {self.scale[1]}: a crop cannot exceed the image's area, 1.0")
        return self

    def __call__(self, images: Tensor, rng: Rng) -> Tensor:
        """float `[B, C, H, W]` in 0..1, C 1 or 3, to `[B, C, size, size]` in 0..1."""
        return self.apply(images, self.draw(images, rng))

    def draw(self, images: Tensor, rng: Rng) -> Parameters:
        """Random parameters for a batch of that shape."""
        batch, (height, width) = len(images), images.shape[-2:]
        coin = rng.uniform(batch, 5) < torch.tensor(
            [self.flip, self.jitter, self.grey, self.blur, self.solarize]
        )
        flip, jitter, grey, blur, solarize = coin.unbind(1)
        strength = torch.tensor([self.brightness, self.contrast, self.saturation, self.hue])
        shift = (2 * rng.uniform(batch, 4) - 1) * strength * jitter[:, None]
        low, high = self.blur_sigma
        return Parameters(
            crop=self._crop(rng, batch, width / height),
            flip=flip,
            brightness=1 + shift[:, 0],
            contrast=1 + shift[:, 1],
            saturation=1 + shift[:, 2],
            hue=shift[:, 3],
            grey=grey,
            blur=(low + (high - low) * rng.uniform(batch)) * blur,
            solarize=solarize,
        )

    def apply(self, images: Tensor, parameters: Parameters) -> Tensor:
        """The same images under given parameters; operations of probability 0 cost nothing."""
        size = (self.size, self.size) if self.size else (images.shape[-2], images.shape[-1])
        out = resized_crop(images, parameters.crop, parameters.flip, size)
        if self.jitter > 0 or self.grey > 0:
            out = recolour(out, parameters)
        if self.blur > 0:
            out = gaussian_blur(out, parameters.blur)
        if self.solarize > 0:
            chosen = parameters.solarize.to(out.device)[:, None, None, None]
            out = torch.where(chosen, torch.minimum(out, 1 - out), out)
        return out

    def _crop(self, rng: Rng, batch: int, aspect: float) -> Tensor:
        """`[B, 4]`: the first of ten random shapes that fits, as torchvision does it, at a random place."""
        draws = rng.uniform(batch, 2 * _TRIES + 2)
        area = self.scale[0] + (self.scale[1] - self.scale[0]) * draws[:, :_TRIES]
        low, high = (math.log(r / aspect) for r in self.ratio)
        ratio = torch.exp(low + (high - low) * draws[:, _TRIES : 2 * _TRIES])
        shapes = torch.stack([(area / ratio).sqrt(), (area * ratio).sqrt()], -1)
        first = (shapes <= 1).all(-1).int().argmax(1)
        shape = shapes[torch.arange(batch), first].clamp(max=1)  # clamped if none of the ten fits
        return torch.cat([(1 - shape) * draws[:, -2:], shape], 1)


def resized_crop(images: Tensor, crop: Tensor, flip: Tensor, size: tuple[int, int]) -> Tensor:
    """Crop, mirror and resize `[B, C, H, W]` to `[B, C, *size]` by one bilinear sampling.

    A crop that shrinks by 1.5 or more is taken from the image reduced by 2, 4, ... (area average) so that what is
    sampled never shrinks by more than 1.5: bilinear sampling alone would alias.

    Args:
        crop: `[B, 4]` top, left, height, width as fractions of the image.
        flip: `[B]` bool.
    """
    grid = _grid(crop, flip, size).to(images)
    shrink = torch.maximum(crop[:, 2] * images.shape[-2] / size[0], crop[:, 3] * images.shape[-1] / size[1])
    levels = (shrink / 1.5).log2().floor().add(1).clamp(min=0).long()
    present = levels.unique().tolist()
    if present == [0]:
        return _sample(images, grid)
    out = images.new_empty(*images.shape[:2], *size)
    for level in present:
        rows = (levels == level).nonzero()[:, 0].to(images.device)
        part = images.index_select(0, rows)
        reduced = [max(1, math.ceil(side / 2**level)) for side in images.shape[-2:]]
        part = F.interpolate(part, reduced, mode="area") if level else part
        out.index_copy_(0, rows, _sample(part, grid.index_select(0, rows)))
    return out


def _grid(crop: Tensor, flip: Tensor, size: tuple[int, int]) -> Tensor:
    """Where to sample, `[B, *size, 2]` (x, y) in -1..1: the image's edges, not its outer pixels' centres."""
    top, left, height, width = crop.unbind(1)
    rows, columns = ((torch.arange(n) + 0.5) / n for n in size)
    columns = torch.where(flip[:, None], 1 - columns, columns)
    y = top[:, None] + height[:, None] * rows
    x = left[:, None] + width[:, None] * columns
    shape = (len(crop), *size)
    return 2 * torch.stack([x[:, None, :].expand(shape), y[:, :, None].expand(shape)], -1) - 1


def _sample(images: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def recolour(images: Tensor, parameters: Parameters) -> Tensor:
    """Brightness, contrast, saturation, hue and greyscale of `[B, C, H, W]`, as one affine map of the colours."""
    channels = images.shape[1]
    luma = torch.tensor(LUMA) if channels == 3 else torch.full((channels,), 1 / channels)
    matrix = colour_matrix(parameters) if channels == 3 else torch.eye(channels).expand(len(images), -1, -1)
    gain = (parameters.brightness * parameters.contrast)[:, None, None]
    fade = (parameters.brightness * (1 - parameters.contrast))[:, None, None]
    device = images.device
    mean = images.mean((2, 3))[:, :, None]  # [B, C, 1]
    grey = (luma.to(device) * mean[..., 0]).sum(1)[:, None, None].expand(-1, channels, 1)
    offset = matrix.to(device) @ (fade.to(device) * grey)
    out = torch.baddbmm(offset, (matrix * gain).to(device), images.flatten(2))
    return out.clamp_(0, 1).view_as(images)


def colour_matrix(parameters: Parameters) -> Tensor:
    """`[B, 3, 3]`: saturation, then hue (a turn about the grey axis of YIQ), then greyscale."""
    batch = len(parameters.hue)
    yiq = torch.tensor(_YIQ)
    to_grey = torch.tensor(LUMA).expand(3, 3)
    identity = torch.eye(3)
    saturation = parameters.saturation[:, None, None]
    saturate = saturation * identity + (1 - saturation) * to_grey
    angle = 2 * math.pi * parameters.hue
    turn = identity.repeat(batch, 1, 1)
    turn[:, 1, 1] = turn[:, 2, 2] = angle.cos()
    turn[:, 1, 2], turn[:, 2, 1] = -angle.sin(), angle.sin()
    matrix = torch.linalg.inv(yiq) @ turn @ yiq @ saturate
    return torch.where(parameters.grey[:, None, None], to_grey @ matrix, matrix)


def gaussian_blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Blur each of `[B, C, H, W]` by its own standard deviation `[B]` in pixels, reflecting at the border.

    Two separable convolutions with every image in a group of its own; images of sigma 0 are left out. Kernels end at
    three standard deviations.
    """
    rows = sigma.nonzero()[:, 0]
    if len(rows) == 0:
        return images
    sigma, rows = sigma[rows], rows.to(images.device)
    part = images.index_select(0, rows)
    radius = min(math.ceil(3 * float(sigma.max())), min(images.shape[-2:]) - 1)
    taps = torch.arange(-radius, radius + 1).square()
    variance = sigma.square()[:, None]
    kernel = torch.exp(-taps / (2 * variance)) * (taps <= 9 * variance)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(images.shape[1], 0).to(images)
    out = part.reshape(1, -1, *images.shape[-2:])
    out = F.pad(out, (radius, radius, 0, 0), mode="reflect")
    out = F.conv2d(out, kernel[:, None, None, :], groups=len(kernel))
    out = F.pad(out, (0, 0, radius, radius), mode="reflect")
    out = F.conv2d(out, kernel[:, None, :, None], groups=len(kernel))
    return images.index_copy(0, rows, out.view_as(part))

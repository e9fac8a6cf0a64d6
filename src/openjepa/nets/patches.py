"""Convolutions of series: inside the patches, or through all that a view shows."""

from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from openjepa.config import Choice, Width
from openjepa.errors import UserError
from openjepa.jepa import View
from openjepa.nets.channels import Layer


class PatchConv(Choice):
    """Convolutions through the steps of each token, whose outputs are laid out in a row (TS-JEPA) or averaged."""

    kind: Literal["patch"] = "patch"
    layers: tuple[Layer, ...] = Field(((128, 3, 3),), min_length=1, max_length=32)
    """Width, kernel and stride of each, without padding."""
    activation: Literal["none", "gelu"] = "none"
    """After each."""
    pool: Literal["flat", "mean"] = "flat"

    def build(self, signal: Any) -> "PatchStem":
        """Raises UserError for patches shorter than what the convolutions see, and for tokens that are no patches."""
        return PatchStem(self, signal)


class PatchStem(nn.Module):
    """`View -> [B, K, width]`, of raw tokens that hold a patch of some channels, channel by channel."""

    embeds = False

    def __init__(self, config: PatchConv, signal: Any) -> None:
        super().__init__()
        steps = signal.patch
        if not isinstance(steps, int) or signal.features % steps:
            raise UserError("encoder.stem patch convolves the steps of series: use another stem, or none")
        self.patch, before, needed = steps, signal.features // steps, steps
        layers: list[nn.Module] = []
        for width, kernel, stride in config.layers:
            if steps < kernel:
                raise UserError(
                    f"encoder.stem convolves {kernel} steps at a time, and a patch of {needed} leaves {steps}: use a "
                    "larger --signal.patch, or smaller encoder.stem.layers"
                )
            layers += [nn.Conv1d(before, width, kernel, stride)]
            layers += [nn.GELU()] if config.activation == "gelu" else []
            before, steps = width, (steps - kernel) // stride + 1
        self.layers, self.mean = nn.Sequential(*layers), config.pool == "mean"
        self.width = before if self.mean else before * steps

    def forward(self, view: View) -> Tensor:
        values = view.kept(view.tokens.values)
        found = self.layers(values.unflatten(-1, (-1, self.patch)).flatten(0, 1))
        pooled = found.mean(-1) if self.mean else found.flatten(1)
        return pooled.unflatten(0, values.shape[:2])

    def layout(self, layout: tuple[int, ...]) -> tuple[int, ...]:
        """The grid of the outputs for an input grid: the same."""
        return layout


class SeriesConv(Choice):
    """Convolutions through a whole series, zeros where patches are hidden, whose last outputs are the tokens.

    The same for every channel where tokens are of one channel. Their strides together are the patch; between two of
    them stands a GELU.
    """

    kind: Literal["series"] = "series"
    widths: tuple[Width, ...] = Field((32, 64, 96), min_length=1, max_length=32)
    """The width of each; the last is the encoder's width."""
    kernel: int = Field(9, ge=1, le=1023)
    """Steps that each sees, odd."""

    @model_validator(mode="after")
    def _odd(self) -> "SeriesConv":
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, so that outputs lie over patches: use {self.kernel + 1}")
        return self

    def build(self, signal: Any) -> "SeriesStem":
        """Raises UserError for tokens that are no patches."""
        return SeriesStem(self, signal)


def strides(patch: int, count: int) -> list[int]:
    """`count` whole numbers whose product is `patch`, as even as its factors allow, falling."""
    found, factor = [1] * count, 2
    factors = []
    while patch > 1:
        while patch % factor == 0:
            factors.append(factor)
            patch //= factor
        factor += 1
    for prime in reversed(factors):
        found[found.index(min(found))] *= prime
    return sorted(found, reverse=True)


class SeriesStem(nn.Module):
    """`View -> [B, K, width]`, of raw tokens that fill a layout of patches, or of channels and patches.

    What a view hides, or what is not there, is zero to it.
    """

    embeds = True

    def __init__(self, config: SeriesConv, signal: Any) -> None:
        super().__init__()
        self.patch = signal.patch
        if not isinstance(self.patch, int) or signal.features % self.patch:
            raise UserError("encoder.stem series convolves series: use another stem, or none")
        before, layers = signal.features // self.patch, list[nn.Module]()
        for width, stride in zip(config.widths, strides(self.patch, len(config.widths)), strict=True):
            layers += [nn.Conv1d(before, width, config.kernel, stride, padding=config.kernel // 2), nn.GELU()]
            before = width
        self.layers, self.width = nn.Sequential(*layers[:-1]), before

    def forward(self, view: View) -> Tensor:
        tokens = view.tokens
        values, layout = tokens.values, tokens.layout
        assert layout is not None
        seen = tokens.valid if view.keep is None else view.shown
        if seen is not None:
            values = torch.where(seen[..., None], values, 0)
        steps = layout[-1]
        series = values.unflatten(1, (-1, steps)).flatten(0, 1)  # [B or B * C, T, F]
        series = series.unflatten(-1, (-1, self.patch)).transpose(1, 2).flatten(2)
        found = self.layers(series)[..., :steps].mT.unflatten(0, (len(values), -1)).flatten(1, 2)
        return view.kept(found)

    def layout(self, layout: tuple[int, ...]) -> tuple[int, ...]:
        """The grid of the outputs for an input grid: the same."""
        return layout

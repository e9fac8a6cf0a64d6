"""Convolutions of series: inside the patches, or through all that a view shows."""

import math
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from openjepa.config import Choice
from openjepa.errors import UserError
from openjepa.jepa import View, gather
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
        values = view.tokens.values if view.keep is None else gather(view.tokens.values, view.keep)
        found = self.layers(values.unflatten(-1, (-1, self.patch)).flatten(0, 1))
        pooled = found.mean(-1) if self.mean else found.flatten(1)
        return pooled.unflatten(0, values.shape[:2])

    def layout(self, layout: tuple[int, ...]) -> tuple[int, ...]:
        """The grid of the outputs for an input grid: the same."""
        return layout


class SeriesConv(Choice):
    """Convolutions through a whole series, zeros where patches are hidden, whose last outputs are the tokens.

    The same for every channel where tokens are of one channel. Between two of them stands a GELU.
    """

    kind: Literal["series"] = "series"
    layers: tuple[Layer, ...] = Field(((32, 9, 4), (64, 9, 2), (96, 9, 2)), min_length=1, max_length=32)
    """Width, kernel (odd) and stride of each; the strides together are the patch."""

    def build(self, signal: Any) -> "SeriesStem":
        """Raises UserError for strides that do not give one output a patch."""
        return SeriesStem(self, signal)


class SeriesStem(nn.Module):
    """`View -> [B, K, width]`, of raw tokens that fill a layout of patches, or of channels and patches.

    What a view hides, or what is not there, is zero to it.
    """

    embeds = True

    def __init__(self, config: SeriesConv, signal: Any) -> None:
        super().__init__()
        self.patch, steps = signal.patch, math.prod(stride for _, _, stride in config.layers)
        if not isinstance(self.patch, int) or signal.features % self.patch:
            raise UserError("encoder.stem series convolves series: use another stem, or none")
        if steps != self.patch or any(kernel % 2 == 0 for _, kernel, _ in config.layers):
            raise UserError(
                f"encoder.stem's convolutions step over {steps} and a patch has {self.patch}: let the strides of "
                "encoder.stem.layers together be signal.patch, and their kernels be odd"
            )
        before, layers = signal.features // self.patch, list[nn.Module]()
        for width, kernel, stride in config.layers:
            layers += [nn.Conv1d(before, width, kernel, stride, padding=(kernel - 1) // 2), nn.GELU()]
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
        return found if view.keep is None else gather(found, view.keep)

    def layout(self, layout: tuple[int, ...]) -> tuple[int, ...]:
        """The grid of the outputs for an input grid: the same."""
        return layout

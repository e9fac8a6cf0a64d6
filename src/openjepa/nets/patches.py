"""Convolutions inside the patches of a series: no token sees a step of another."""

from typing import Any, Literal

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

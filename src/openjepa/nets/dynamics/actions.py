"""Encoders of actions inside a predictor. Each maps `[..., A'] -> [..., out]`."""

from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from openjepa.config import Choice


class RawActions(Choice):
    """The numbers as they are (PLDM, EB-JEPA)."""

    kind: Literal["identity"] = "identity"

    def build(self, condition_dim: int, width: int) -> nn.Module:
        return nn.Identity()

    def out(self, condition_dim: int, width: int) -> int:
        """Numbers that come out, for A' in and a predictor of `width`."""
        return condition_dim


class ActionMLP(Choice):
    """One hidden layer, to the predictor's width."""

    kind: Literal["mlp"] = "mlp"
    hidden: int = Field(128, ge=1, le=65_536)

    def build(self, condition_dim: int, width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(condition_dim, self.hidden), nn.SiLU(), nn.Linear(self.hidden, width))

    def out(self, condition_dim: int, width: int) -> int:
        return width


class Smoothed(Choice):
    """LeWM's encoder (`module.py`, `Embedder`): a convolution of kernel 1 over time, which is a linear map of each
    step, to `smooth` numbers, then an MLP with one hidden layer, to the predictor's width."""

    kind: Literal["smoothed"] = "smoothed"
    smooth: int = Field(10, ge=1, le=4096)
    ratio: int = Field(4, ge=1, le=64)
    """Hidden width over the predictor's."""

    def build(self, condition_dim: int, width: int) -> nn.Module:
        hidden = self.ratio * width
        layers = [nn.Linear(self.smooth, hidden), nn.SiLU(), nn.Linear(hidden, width)]
        return nn.Sequential(nn.Linear(condition_dim, self.smooth), *layers)

    def out(self, condition_dim: int, width: int) -> int:
        return width


ActionEncoder = Annotated[RawActions | ActionMLP | Smoothed, Field(discriminator="kind")]

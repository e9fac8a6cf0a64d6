"""A small PointNet that embeds groups of points (Qi et al., CVPR 2017, as Point-BERT and Point-JEPA have it)."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from openjepa.common.distributed import BatchNorm
from openjepa.config import Choice, Width
from openjepa.errors import UserError
from openjepa.jepa import View


class PointNet(Choice):
    """Each point of a group through two layers, the group's maximum beside each, two more layers, and the maximum."""

    kind: Literal["pointnet"] = "pointnet"
    widths: tuple[Width, Width, Width, Width] = (128, 256, 512, 384)
    """The widths of the four layers; the last is the encoder's width."""
    norm: Literal["batch", "layer", "none"] = "batch"
    """After the first layer and after the third."""

    @property
    def of_batch(self) -> bool:
        return self.norm == "batch"

    def build(self, signal: Any) -> "PointStem":
        """Raises UserError for tokens that are no groups of points."""
        if signal.axes != ("x", "y", "z"):
            raise UserError("encoder.stem pointnet embeds groups of points: use another stem, or none")
        return PointStem(self)


class PointStem(nn.Module):
    """`View -> [B, K, width]`, of raw tokens that hold points `[n, 3]`."""

    embeds = True

    def __init__(self, config: PointNet) -> None:
        super().__init__()
        first, second, third, self.width = config.widths
        self.near = nn.Sequential(*_layers(3, first, second, config.norm))
        self.far = nn.Sequential(*_layers(2 * second, third, self.width, config.norm))

    def forward(self, view: View) -> Tensor:
        values = view.kept(view.tokens.values)
        groups = values.unflatten(-1, (-1, 3)).flatten(0, 1)  # [B * K, n, 3]
        near = self.near(groups)
        whole = near.amax(1, keepdim=True).expand_as(near)
        return self.far(torch.cat([whole, near], -1)).amax(1).unflatten(0, values.shape[:2])

    def layout(self, layout: None) -> None:
        """Groups of points fill no grid."""
        return layout


def _layers(given: int, middle: int, out: int, norm: str) -> list[nn.Module]:
    norms = {"batch": [_BatchNormLast(middle)], "layer": [nn.LayerNorm(middle)], "none": []}
    return [nn.Linear(given, middle), *norms[norm], nn.ReLU(), nn.Linear(middle, out)]


class _BatchNormLast(nn.Module):
    """Batch norm over the features of `[..., D]`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = BatchNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.flatten(0, -2)).view_as(x)

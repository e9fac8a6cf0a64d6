"""Point clouds: groups of points about centres that lie far apart are tokens, in an order along the cloud."""

import math
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.jepa import Tokens
from openjepa.signals.base import AugmentedTokens, Signal
from openjepa.signals.pictures import Marks, Picture
from openjepa.signals.points.batch import Clouds
from openjepa.signals.points.classical import classical
from openjepa.signals.points.cloud_set import CloudSet, OneCloud, settled
from openjepa.signals.points.groups import Order, grouped
from openjepa.signals.points.opening import open_clouds
from openjepa.signals.points.picture import picture
from openjepa.signals.points.tasks import cloud_tasks
from openjepa.signals.tasks import Tasks

Range = tuple[float, float]


class PointSignal(Signal):
    """Clouds of points become tokens: groups of neighbours, each at its centre, along a path through the cloud."""

    kind: Literal["points"] = "points"
    noun: ClassVar[str] = "clouds"
    axes: ClassVar[tuple[str, ...]] = ("x", "y", "z")

    count: int = Field(1024, ge=4, le=1_000_000)
    """Points of a sample, drawn of a cloud's; of a smaller cloud, some come several times."""
    groups: int = Field(64, ge=2, le=65_536)
    """Tokens, whose centres are found by farthest-point sampling."""
    size: int = Field(32, ge=1, le=4096)
    """Points of a group, those nearest to its centre; a point may be in several."""
    order: Order = "greedy"
    """The groups' order: `greedy`, from the smallest sum of coordinates on to the nearest that is left (Point-JEPA's
    sequencer); `z-order` and `hilbert`, along a curve that fills space; `none`, as they were sampled."""
    up: Literal["x", "y", "z"] = "z"
    """The axis that points upwards, about which clouds are turned in training and seen in pictures."""
    turn: float = Field(180.0, ge=0, le=180)
    """Degrees by which a cloud is turned in training at most, to either side."""
    stretch: Range = (0.8, 1.2)
    """Factors on each axis in training."""
    mirror: float = Field(0.5, ge=0, le=1)
    """How often each level axis is mirrored in training."""

    @model_validator(mode="after")
    def _fits(self) -> "PointSignal":
        if self.groups > self.count or self.size > self.count:
            raise ValueError(
                f"{self.groups} groups of {self.size} points need a count of at least {max(self.groups, self.size)}"
            )
        if not 0 < self.stretch[0] <= self.stretch[1]:
            raise ValueError(f"stretch {list(self.stretch)} must be two factors in ascending order, above 0")
        return self

    @property
    def features(self) -> int:
        """Numbers in a raw token."""
        return self.size * 3

    @property
    def layout(self) -> None:
        """Groups fill no grid."""
        return None

    def open(self, data: Any, split: str = "train", *, adapt: bool = False) -> CloudSet:
        """Samples of `count` points, as `open_clouds` reads them."""
        return data if isinstance(data, CloudSet) else open_clouds(data, count=self.count, split=split)

    def fitted(self, samples: CloudSet) -> Self:
        """Nothing is taken from the data: every cloud is brought to one size."""
        return self

    def classical(self, level: str = "all") -> list[Any]:
        """Occupancy, shape distributions, random networks and others, to stand beside a model's features."""
        return classical(level)

    def tasks(self, batch: Clouds) -> Tasks:
        return cloud_tasks(batch)

    def batch(self, raw: Any) -> Clouds:
        """A user's clouds: an array `[N, P, 3]`, one `[P, 3]`, or a list of these, in any unit; brought to radius 1.

        Raises:
            UserError: another shape, points that are no numbers, a cloud all in one place.
        """
        if isinstance(raw, Clouds):
            return raw
        device = raw.device if isinstance(raw, Tensor) else torch.device("cpu")
        given = raw.cpu().numpy() if isinstance(raw, Tensor) else raw
        one = isinstance(given, np.ndarray) and given.ndim == 2
        clouds = []
        for i, cloud in enumerate([given] if one else given):
            points = np.asarray(cloud, np.float64)
            if points.ndim != 2 or points.shape[1] != 3 or not len(points):
                raise UserError(
                    f"cloud {i} of shape {list(points.shape)} is not [P, 3]: give points [N, P, 3]"
                )
            found = settled(OneCloud(f"cloud {i}", points))
            clouds.append(found[np.arange(self.count) % len(found)])
        if not clouds:
            raise UserError("no cloud was given: give points [N, P, 3]")
        return Clouds(torch.from_numpy(np.stack(clouds)).to(device))

    def tokenise(self, batch: Clouds) -> Tokens:
        """Raw tokens `[B, groups, size * 3]` about their centres, at these.

        Raises:
            UserError: clouds of fewer points than a group.
        """
        if batch.points.shape[1] < max(self.groups, self.size):
            raise UserError(
                f"clouds of {batch.points.shape[1]} points have no {self.groups} groups of {self.size}: give more "
                "points, or smaller signal.groups and signal.size"
            )
        values, centres = grouped(batch.points, self.groups, self.size, self.order)
        return Tokens(values.flatten(2), centres)

    def augmented(self, batch: Clouds, rng: Rng) -> AugmentedTokens:
        """Each cloud stretched, mirrored and turned by its own draw, and brought to radius 1 again."""
        points = batch.points
        draws = rng.stream("clouds").uniform(len(points), 6).to(points.device)
        low, high = self.stretch
        factor = low + (high - low) * draws[:, :3]
        up = "xyz".index(self.up)
        level = torch.tensor([(up + 1) % 3, (up + 2) % 3], device=points.device)
        factor[:, level] = torch.where(draws[:, 3:5] < self.mirror, -factor[:, level], factor[:, level])
        points = points * factor.unsqueeze(1)
        angle = (2 * draws[:, 5] - 1) * math.radians(self.turn)
        points = turned(points, angle, up)
        points = points - points.mean(1, keepdim=True)
        points = points / points.norm(dim=-1).amax(1).clamp_min(1e-9)[:, None, None]
        tokens = self.tokenise(Clouds(points))
        return AugmentedTokens(tokens, tokens)

    def picture(self, batch: Any, row: int, marks: Marks | None = None) -> Picture:
        """Points seen from a little above; each has the marks of the group whose centre is nearest."""
        one = self.batch(batch)[row : row + 1].to("cpu")
        token = one.token
        if token is None:
            token = torch.cdist(one.points, self.tokenise(one).positions).argmin(2)
        return picture(one.points[0].numpy(), token[0].numpy(), marks, "xyz".index(self.up))

    def restored(self, tokens: Tokens) -> Clouds:
        """The points of all groups, each with its group."""
        groups = tokens.values.unflatten(-1, (-1, 3)) + tokens.positions.unsqueeze(2)
        batch, number, size = groups.shape[:3]
        token = torch.arange(number, device=groups.device).repeat_interleave(size)
        order = torch.arange(number * size, device=groups.device).view(number, size).T.flatten()
        return Clouds(groups.flatten(1, 2)[:, order], token[order].expand(batch, -1))


def turned(points: Tensor, angle: Tensor, up: int) -> Tensor:
    """Points `[B, P, 3]` turned by angles `[B]` in radians about an axis."""
    a, b = points[..., (up + 1) % 3], points[..., (up + 2) % 3]
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    parts = [points[..., i] for i in range(3)]
    parts[(up + 1) % 3], parts[(up + 2) % 3] = a * cos - b * sin, a * sin + b * cos
    return torch.stack(parts, -1)

"""Point clouds as they are trained on."""

from dataclasses import dataclass

from torch import Tensor

from openjepa.signals.base import Batch


@dataclass(frozen=True, eq=False)
class Clouds(Batch):
    """A batch of clouds of equally many points.

    Attributes:
        points: float32 `[B, P, 3]`, about their middle, at most 1 away from it.
        token: int64 `[B, P]`, to which token each point belongs, where tokens were made of them; else `None`.
    """

    points: Tensor
    token: Tensor | None = None

"""The base of all hidings."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.config import Choice


class HidingChoice(Choice):
    """A hiding: `build(signal)` gives what makes pairs of a batch, a function of the batch and of `Rng` alone."""

    kinds: ClassVar[int] = 1
    """Kinds of pairs that it makes, each with its own mask token."""
    ragged: ClassVar[bool] = False
    """Whether samples hide unequal numbers of tokens, over all of which in the batch the energy is the mean."""

    @property
    def of_batch(self) -> bool:
        return self.ragged

    @property
    def hides(self) -> bool:
        """Whether the encoder is given less than all tokens of a view."""
        return True

    def build(self, signal: Any) -> Any:
        """Raises UserError for what can never hold."""
        raise NotImplementedError


def cut(among: Tensor, rng: Rng, raster: bool = False) -> Tensor:
    """Indices of as many true places of each sample's `[B, N]` as the batch's shortest has, `[B, K]`, ascending.

    Args:
        raster: keep the first ones, as released codes do, and not a random draw.
    """
    shortest = int(among.sum(1).min())
    if raster:
        order = torch.arange(among.shape[1], 0, -1.0).expand(among.shape)
    else:
        order = 1 + torch.rand(among.shape, generator=rng.generator())
    return (order * among).topk(shortest, 1).indices.sort(1).values


def indices_of(mask: Tensor) -> tuple[Tensor, Tensor | None]:
    """Indices of the true places of `[B, N]`, ascending, padded to the most that a sample has: `[B, K]`.

    The second, `[B, K]` bool, says which are no padding; `None` where all samples have as many.
    """
    counts = mask.sum(1)
    most = max(1, int(counts.max()))
    index = mask.int().sort(dim=1, descending=True, stable=True).indices[:, :most]
    if bool((counts == most).all()):
        return index, None
    valid = mask.gather(1, index)
    return index * valid, valid  # padding points at the first token

"""A random share of each sample's tokens, one by one or in whole rows of their grid (MAE, V-JEPA's ablation, M2D)."""

import math
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.hiding.base import HidingChoice, TargetSees, TokenHiding
from openjepa.jepa import Tokens


class RandomTokens(HidingChoice):
    """Each sample hides its own random `share` of the tokens that are there; the context is all the others.

    Samples of equally many tokens hide equally many; of padded ones, each hides its share of its own.
    """

    ragged: ClassVar[bool] = True

    kind: Literal["random"] = "random"
    share: float = Field(0.6, gt=0, lt=1)
    """The share of tokens, or of places on an axis, that are hidden; at least one is, and at least one is not."""
    along: str = ""
    """An axis of the signal, such as `time`: what is hidden at one of its places is hidden there over all other axes.
    Empty: single tokens are hidden."""
    target_sees: TargetSees = "all"
    """What the target's encoder is given: all tokens, or the hidden ones alone."""

    def build(self, signal: Any) -> "RandomHiding":
        """Raises UserError for samples of one token, and for an axis that the signal's grid does not have."""
        layout = signal.layout
        if layout is not None and math.prod(layout) == 1:
            raise UserError(
                "--hiding random hides some tokens of several, and a sample has one: use smaller patches"
            )
        if self.along and (
            layout is None or len(layout) != len(signal.axes) or self.along not in signal.axes
        ):
            known = (
                f"has the axes {', '.join(signal.axes)}" if layout is not None else "has no grid of tokens"
            )
            raise UserError(f"hiding.along {self.along!r} is no axis to hide along: {signal.noun} {known}")
        if self.along and layout[signal.axes.index(self.along)] == 1:
            raise UserError(
                f"hiding.along {self.along!r}: the grid has one place on this axis, which would hide all"
            )
        return RandomHiding(self, signal)


class RandomHiding(TokenHiding):
    """Batches to pairs, by a random mask a sample."""

    config: RandomTokens

    def sample(self, tokens: Tokens, rng: Rng) -> Tensor:
        """Which tokens are hidden, `[B, N]` bool."""
        batch, count = tokens.values.shape[:2]
        there = tokens.valid
        if not self.config.along:
            return _share(there, (batch, count), self.config.share, rng).to(tokens.values.device)
        assert tokens.layout is not None
        axis = self.signal.axes.index(self.config.along)
        others = [i + 1 for i in range(len(tokens.layout)) if i != axis]
        occupied = None if there is None else there.unflatten(1, tokens.layout).any(dim=others)
        lines = _share(occupied, (batch, tokens.layout[axis]), self.config.share, rng).to(
            tokens.values.device
        )
        shape = [batch, *(side if i == axis else 1 for i, side in enumerate(tokens.layout))]
        hidden = lines.view(shape).expand(batch, *tokens.layout).flatten(1)
        return hidden if there is None else hidden & there


def _share(there: Tensor | None, shape: tuple[int, int], share: float, rng: Rng) -> Tensor:
    """A random share of the true places of each row of `there` `[B, N]` (`None`: of all), as a mask."""
    order = rng.uniform(*shape)
    counts = torch.full(shape[:1], shape[1])
    if there is not None:
        there = there.cpu()
        order, counts = order.masked_fill(~there, 2), there.sum(1)
    rank = order.argsort(1).argsort(1)
    wanted = (counts * share).round().long().clamp_min(1)
    return rank < torch.minimum(wanted, (counts - 1).clamp_min(0))[:, None]

"""Discs on the head: all electrodes around a random one are hidden for the whole window (Signal-JEPA)."""

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.config import Positive
from openjepa.errors import UserError
from openjepa.hiding.base import HidingChoice, TokenHiding, there_of
from openjepa.jepa import Tokens


class Discs(HidingChoice):
    """One disc a sample, around one of its electrodes; the context is what lies outside, the target what is inside.

    Samples hide as many electrodes as lie in their disc, so contexts and targets are padded.
    """

    ragged: ClassVar[bool] = True

    kind: Literal["discs"] = "discs"
    diameters: tuple[Positive, ...] = Field((0.6,), min_length=1, max_length=64)
    """Diameters of the discs, as shares of the head's diameter; each sample draws one of them."""
    stretch: float = Field(0.0, ge=0, lt=1)
    """Share of the window's time, in one stretch at a random place, in which all electrodes are hidden besides."""

    def build(self, signal: Any) -> "DiscHiding":
        """Raises UserError for fewer than two electrodes."""
        if signal.channels and len(signal.channels) < 2:
            raise UserError(
                f"--hiding discs hides electrodes from others, and the data have {len(signal.channels)}: use "
                "recordings of several"
            )
        return DiscHiding(self, signal)


class DiscHiding(TokenHiding):
    """Batches of recordings to pairs: a context of some electrodes, the others as its target."""

    def sample(self, tokens: Tokens, rng: Rng) -> Tensor:
        """Which tokens at `[1 or B, N, (right, front, up, second)]` on a head of radius 1 are hidden, `[B, N]` bool.

        Where a disc would hide all, its middle alone is hidden.
        """
        batch = len(tokens.values)
        draws = rng.uniform(batch, 3 if self.config.stretch else 2).to(tokens.values.device)
        where = tokens.positions[..., :3].expand(batch, -1, -1)
        there = there_of(tokens)
        chosen = (
            draws[:, :1] * there.sum(1, keepdim=True)
        ).long()  # of those that are there, the one with this number
        centre = (there.cumsum(1) == chosen + 1).int().argmax(1)
        away = (where - where[torch.arange(batch, device=where.device), centre][:, None]).norm(dim=-1)
        sizes = away.new_tensor(self.config.diameters)
        radius = sizes[(draws[:, 1] * len(sizes)).long()]  # the head's diameter is 2
        hidden = there & (away <= radius[:, None] + 1e-6)
        if self.config.stretch:
            hidden = hidden | (there & self._stretch(tokens.positions[..., 3], draws[:, 2]))
        whole = ~(there & ~hidden).any(1, keepdim=True)
        return torch.where(whole, there & (away < 1e-6), hidden)

    def _stretch(self, second: Tensor, place: Tensor) -> Tensor:
        """Which tokens, at `[1 or B, N]` seconds, lie in a stretch that begins at a share `place` of its room."""
        number = (second * self.signal.rate / self.signal.patch).round().long()
        steps = int(number.max()) + 1
        length = min(max(1, round(self.config.stretch * steps)), steps - 1)
        first = (place * (steps - length + 1)).long()[:, None]
        return (number >= first) & (number < first + length)

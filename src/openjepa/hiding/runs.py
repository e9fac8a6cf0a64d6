"""Contiguous runs of a sequence of tokens: some are to be predicted, one of what is left is seen (Point-JEPA)."""

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.hiding.base import HidingChoice, Range, indices_of, there_of
from openjepa.jepa import Pair, Tokens, View


class Runs(HidingChoice):
    """Each sample's `targets` runs, which may overlap, and a run of the tokens in none of them as its context.

    A run follows the tokens in their order, which for points is the signal's. Targets are equally long in a batch, and
    lie where each sample draws them; contexts are as long as what is left of each sample lets them be. Where runs would
    hide all tokens of a sample, they all lie on its first.
    """

    ragged: ClassVar[bool] = True

    kind: Literal["runs"] = "runs"
    targets: int = Field(4, ge=1, le=64)
    """Runs to predict."""
    scale: Range = (0.15, 0.2)
    """Length of each, as a share of a sample's tokens; one draw a batch."""
    context: Range = (0.4, 0.75)
    """Length of the context, as a share of the tokens that are in no target; a draw a sample."""

    @model_validator(mode="after")
    def _rising(self) -> "Runs":
        for name, (low, high) in (("scale", self.scale), ("context", self.context)):
            if not 0 < low <= high <= 1:
                raise ValueError(f"{name} {[low, high]} must be two shares in ascending order, above 0")
        return self

    def build(self, signal: Any) -> "RunHiding":
        """Raises UserError where targets can hide all tokens."""
        if self.targets * self.scale[1] >= 1:
            raise UserError(
                f"{self.targets} runs of up to {self.scale[1]:g} of the tokens can hide all of them: lower "
                "hiding.targets or hiding.scale"
            )
        return RunHiding(self, signal)


class RunHiding:
    """Batches to a pair: a context, and M target runs."""

    def __init__(self, config: Runs, signal: Any) -> None:
        self.config, self.signal = config, signal

    def __call__(self, batch: Any, rng: Rng) -> list[Pair]:
        seen = self.signal.augmented(batch, rng)
        keep, kept, select, asked = self.sample(seen.context, rng)
        target = View(seen.target)
        return [Pair(View(seen.context, keep, kept), (target,), select, asked, place=seen.place)]

    def sample(self, tokens: Tokens, rng: Rng) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None]:
        """Indices of the context `[B, K]` and of the targets `[B, M, T]`, rising, and which are no padding."""
        batch, number = tokens.values.shape[:2]
        device, config = tokens.values.device, self.config
        there = there_of(tokens)
        count = there.sum(1)
        share = _between(config.scale, float(rng.shared(1)))
        length = (count * share).long().clamp_min(1)
        draws = rng.uniform(batch, config.targets + 2).to(device)
        first = (draws[:, : config.targets] * (count - length + 1)[:, None]).long()
        step = torch.arange(int(length.max()), device=device)
        place = first[..., None] + step  # [B, M, T], among the tokens that are there
        inside = step < length[:, None, None]
        inside = inside.expand_as(place)
        where = there.int().sort(dim=1, descending=True, stable=True).indices
        select = where.gather(1, place.clamp_max(number - 1).flatten(1)).view_as(place) * inside
        hidden = _hidden(select, inside, number)
        full = ~(there & ~hidden).any(1)  # of a sample of few tokens runs may hide all
        select = torch.where(full[:, None, None], select[:, :1], select)
        free = there & ~_hidden(select, inside, number)
        left = free.sum(1)
        low, high = config.context
        size = (left * (low + (high - low) * draws[:, -2])).long().clamp_min(1)
        start = (draws[:, -1] * (left - size + 1)).long()
        rank = free.cumsum(1) - 1
        seen = free & (rank >= start[:, None]) & (rank < (start + size)[:, None])
        keep, kept = indices_of(seen)
        return keep, kept, select, None if bool(inside.all()) else inside


def _hidden(select: Tensor, inside: Tensor, number: int) -> Tensor:
    """Which of all tokens any run holds, `[B, N]` bool."""
    hidden = torch.zeros(len(select), number, dtype=torch.bool, device=select.device)
    return hidden.scatter_reduce_(1, select.flatten(1), inside.flatten(1), "amax")


def _between(bounds: Range, share: float) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * share

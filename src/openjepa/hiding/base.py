"""The base of all hidings, and of those that hide some of a sample's tokens."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.config import Choice
from openjepa.jepa import Pair, Tokens, View

Range = tuple[float, float]
REDRAWS = 8
"""Rounds in which samples are drawn again whose context is too small."""


class HidingChoice(Choice):
    """A hiding: `build(signal)` gives what makes pairs of a batch, a function of the batch and of `Rng` alone."""

    kinds: ClassVar[int] = 1
    """Kinds of pairs that it makes, each with its own mask token."""
    ragged: ClassVar[bool] = False
    """Whether samples hide unequal numbers of tokens, over all of which in the batch the energy is the mean."""

    dense: ClassVar[bool] = False
    """Whether what the context sees is asked for as well (`Pair.visible`)."""

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


TargetSees = Literal["all", "hidden"]
"""What a target's encoder is given: all of a sample, or the hidden tokens alone (M2D, arXiv:2210.14648)."""


class TokenHiding:
    """Batches to one pair: each sample's context is what a mask leaves, its target what the mask hides.

    A subclass draws the mask, in `sample`, of tokens and `Rng` alone.
    """

    target_sees: TargetSees = "all"

    def __init__(self, config: Any, signal: Any) -> None:
        self.config, self.signal = config, signal
        self.target_sees = getattr(config, "target_sees", "all")

    def __call__(self, batch: Any, rng: Rng) -> list[Pair]:
        seen = self.signal.augmented(batch, rng)
        return self.apply(seen.context, rng, seen.target, seen.place)

    def apply(
        self, tokens: Tokens, rng: Rng, target: Tokens | None = None, place: Tensor | None = None
    ) -> list[Pair]:
        """The pair of a context of `tokens` and a target of others on the same grid, which lie at `place` `[B, N, P]`
        as the context counts; none: of the same tokens."""
        hidden = self.sample(tokens, rng)
        return [masked_pair(tokens, hidden, target or tokens, place, self.target_sees)]

    def sample(self, tokens: Tokens, rng: Rng) -> Tensor:
        """Which tokens are hidden, `[B, N]` bool; at least one of each sample, and never all that are there."""
        raise NotImplementedError


def masked_pair(
    tokens: Tokens, hidden: Tensor, target: Tokens, place: Tensor | None, target_sees: TargetSees = "all"
) -> Pair:
    """The pair whose context keeps what of `tokens` is there and not `hidden` `[B, N]`; its target is the rest."""
    keep, kept = indices_of(~hidden if tokens.valid is None else tokens.valid & ~hidden)
    select, asked = indices_of(hidden)
    view = View(target) if target_sees == "all" else View(target, select, asked)
    return Pair(
        View(tokens, keep, kept),
        (view,),
        select.unsqueeze(1),
        None if asked is None else asked.unsqueeze(1),
        place=place,
    )


def require_ranges(config: Any) -> None:
    """Raises ValueError where scales and aspects of target and context blocks do not rise above 0, or scales pass 1."""
    for name in ("target_scale", "target_aspect", "context_scale", "context_aspect"):
        low, high = getattr(config, name)
        if not 0 < low <= high or ("scale" in name and high > 1):
            raise ValueError(
                f"{name} {low, high} must rise, above 0" + (" and to at most 1" if "scale" in name else "")
            )


def boxes(corners: Tensor, shape: Tensor | Sequence[int], layout: Sequence[int]) -> Tensor:
    """Which places of a grid lie in boxes with first `corners` `[B, M, P]`: `[B, M, *layout]` bool.

    Args:
        shape: sides of all boxes, P numbers, or of each, `[B, M, P]`.
    """
    sides = torch.as_tensor(shape)
    covered = torch.ones(corners.shape[:-1], dtype=torch.bool)
    for axis, side in enumerate(layout):
        offset = torch.arange(side) - corners[..., axis, None]
        along = (offset >= 0) & (offset < sides[..., axis, None])  # [B, M, side]
        covered = covered.unsqueeze(-1) & along.unflatten(2, (*[1] * axis, side))
    return covered


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


def there_of(tokens: Tokens) -> Tensor:
    """Which tokens are there, `[B, N]` bool, also where all are."""
    values = tokens.values
    return values.new_ones(values.shape[:2], dtype=torch.bool) if tokens.valid is None else tokens.valid


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

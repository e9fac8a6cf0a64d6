"""Multi-block masks on a grid of two axes, of padded samples too (I-JEPA's rule, for spectrograms and other grids)."""

import math
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.hiding.base import (
    REDRAWS,
    HidingChoice,
    Range,
    TargetSees,
    TokenHiding,
    boxes,
    indices_of,
    require_ranges,
)
from openjepa.jepa import Pair, Tokens, View


class GridBlocks(HidingChoice):
    """The context is one block less the targets, which are `targets` blocks that may overlap one another.

    Each sample draws its own sizes and places, within that part of the grid in which it has tokens. A block keeps its
    area where the grid is too low or too narrow for its aspect. A sample whose context falls below `min_context` is
    drawn again, and after `REDRAWS` rounds sees all but its first target.
    """

    ragged: ClassVar[bool] = True

    kind: Literal["blocks"] = "blocks"
    targets: int = Field(4, ge=1, le=256)
    target_scale: Range = (0.15, 0.2)
    """Share of the grid."""
    target_aspect: Range = (0.75, 1.5)
    """Places along the first axis over places along the second."""
    context_scale: Range = (0.85, 1.0)
    context_aspect: Range = (1.0, 1.0)
    extend: tuple[str, ...] = ()
    """Axes of the signal, such as `time`: contexts lose all tokens that share a place on one of them with a target."""
    min_context: float = Field(0.05, ge=0, lt=1)
    """Least visible share of a sample's tokens."""
    target_sees: TargetSees = "all"
    """What the target's encoder is given: all tokens, or the hidden ones alone, which are then one target together."""

    @model_validator(mode="after")
    def _ordered(self) -> "GridBlocks":
        require_ranges(self)
        return self

    def build(self, signal: Any) -> "GridBlockHiding":
        """Raises UserError for a signal without a grid of two axes, an axis that it does not have, or where no draw
        could leave `min_context` visible."""
        layout = signal.layout
        if layout is None or len(layout) != 2 or len(signal.axes) != 2:
            raise UserError(
                f"--hiding blocks needs a grid of two axes, which {signal.noun} do not have: use random"
            )
        if unknown := [axis for axis in self.extend if axis not in signal.axes]:
            raise UserError(f"hiding.extend {unknown[0]!r} is none of the axes: {', '.join(signal.axes)}")
        count = math.prod(layout)
        largest = min(count, math.ceil(count * self.target_scale[1]) + max(layout))
        if count - largest < max(1, math.ceil(self.min_context * count)):
            raise UserError(
                f"blocks can never hold on a grid of {layout[0]} x {layout[1]}: one target of {self.target_scale[1]:g} "
                f"leaves less than min_context {self.min_context:g} asks for; lower hiding.min_context or "
                "hiding.target_scale, or use a smaller signal.patch"
            )
        return GridBlockHiding(self, signal)


class GridBlockHiding(TokenHiding):
    """Batches to a pair: a context of each sample, and blocks of it that are to be predicted."""

    config: GridBlocks

    def apply(
        self, tokens: Tokens, rng: Rng, target: Tokens | None = None, place: Tensor | None = None
    ) -> list[Pair]:
        """The pair of a context of `tokens` and blocks of `target`; see `TokenHiding.apply`."""
        target = target or tokens
        visible, blocks = (mask.to(tokens.values.device) for mask in self.masks(tokens, rng))
        keep, kept = indices_of(visible.flatten(1))
        blocks = blocks.flatten(2)
        if self.target_sees == "hidden":
            select, asked = indices_of(blocks.any(1))
            view, blocks = View(target, select, asked), blocks[:, :1]
        else:
            select, asked = indices_of(blocks.flatten(0, 1))
            view = View(target)
        batch, count = blocks.shape[:2]
        select, asked = (None if part is None else part.view(batch, count, -1) for part in (select, asked))
        return [Pair(View(tokens, keep, kept), (view,), select, asked, place=place)]

    def masks(self, tokens: Tokens, rng: Rng) -> tuple[Tensor, Tensor]:
        """What contexts see, `[B, rows, columns]`, and the targets, `[B, M, rows, columns]`: never the same tokens, and
        none that is not there."""
        assert tokens.layout is not None
        rng = rng.stream("blocks")  # processes may draw again unequally often
        rows, columns = tokens.layout
        batch, config = len(tokens.values), self.config
        there = torch.ones(batch, rows, columns, dtype=torch.bool)
        if tokens.valid is not None:
            there = tokens.valid.cpu().unflatten(1, (rows, columns))
        extent = torch.stack([_last(there.any(2)), _last(there.any(1))], -1)  # [B, 2]
        least = (there.flatten(1).sum(1) * config.min_context).ceil().clamp_min(1)
        visible, blocks = self._draw(there, extent, rng)
        for _ in range(REDRAWS):
            short = (visible.flatten(1).sum(1) < least) | ~blocks.flatten(1).any(1)
            if not short.any():
                break
            again = self._draw(there, extent, rng)
            visible, blocks = (
                torch.where(short.view(-1, *[1] * (old.dim() - 1)), new, old)
                for old, new in zip((visible, blocks), again, strict=True)
            )
        short = (visible.flatten(1).sum(1) < least)[:, None, None]
        first = blocks[:, 0]
        whole = (
            ~(there & ~first).flatten(1).any(1)[:, None, None]
        )  # of a sample of very few tokens one is left to see
        first = torch.where(whole, first & ~_first(there), first)
        visible = torch.where(short, there & ~first, visible)
        blocks = torch.where(short[:, None], first[:, None] & torch.ones_like(blocks), blocks)
        return visible, blocks

    def _draw(self, there: Tensor, extent: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        config, layout = self.config, (there.shape[1], there.shape[2])
        blocks = _rectangles(config.targets, config.target_scale, config.target_aspect, extent, layout, rng)
        context = _rectangles(1, config.context_scale, config.context_aspect, extent, layout, rng)[:, 0]
        blocks = blocks & there[:, None]
        hidden = blocks.any(1)
        lost = hidden
        for axis in config.extend:
            lost = lost | hidden.any(2 - self.signal.axes.index(axis), keepdim=True)
        return context & there & ~lost, blocks


def _rectangles(
    count: int, scale: Range, aspect: Range, extent: Tensor, layout: tuple[int, int], rng: Rng
) -> Tensor:
    """Random blocks `[B, count, rows, columns]` inside each sample's first `extent` `[B, 2]` places."""
    draws = rng.uniform(len(extent), count, 4)
    sides = extent[:, None].expand(-1, count, -1).to(draws.dtype)
    area = (scale[0] + draws[..., 0] * (scale[1] - scale[0])) * sides.prod(-1)
    ratio = aspect[0] + draws[..., 1] * (aspect[1] - aspect[0])
    high = torch.minimum((area * ratio).sqrt().round().clamp_min(1), sides[..., 0])
    wide = torch.minimum((area / high).round().clamp_min(1), sides[..., 1])
    high = torch.minimum(torch.maximum(high, (area / wide).round()), sides[..., 0])
    shape = torch.stack([high, wide], -1)
    return boxes((draws[..., 2:] * (sides - shape + 1)).floor(), shape, layout)


def _last(there: Tensor) -> Tensor:
    """One more than the number of the last true place of each row, `[B]`."""
    return (there * torch.arange(1, there.shape[1] + 1)).amax(1).clamp_min(1)


def _first(there: Tensor) -> Tensor:
    """The first true place of each sample alone, as a mask of the same shape."""
    flat = there.flatten(1)
    return (flat & (flat.cumsum(1) == 1)).view_as(there)

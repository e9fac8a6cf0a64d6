"""Tubes through time: what is hidden in one frame is hidden in all (V-JEPA, section 3.2)."""

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.config import Config
from openjepa.errors import UserError
from openjepa.hiding.base import HidingChoice, cut
from openjepa.jepa import Pair, Tokens, View
from openjepa.signals.images.augment import Augment
from openjepa.signals.video.augment import augment_clips
from openjepa.signals.video.signal import Side, VideoSignal

Range = tuple[float, float]
REDRAWS = 8


class Tube(Config):
    """What one kind of pair hides: the union of some blocks of a frame, through time."""

    blocks: int = Field(8, ge=0, le=256)
    """0: there is no such pair."""
    scale: float = Field(0.15, gt=0, le=1)
    """Of each block, as a share of the frame."""


class TubeChoice(HidingChoice):
    """What hidings of tubes share: two pairs a clip, many short-range blocks hidden in one, few long-range ones in the
    other.

    The context is what no block hides. Blocks have one size per batch and kind, of a random aspect, and a random place
    per sample; all that is hidden is predicted together. So that tensors are rectangular, contexts are cut to the
    batch's shortest, and what is to be predicted likewise, both by a random draw. A sample whose context falls below
    `min_context` is drawn again, and after `REDRAWS` rounds its blocks are laid on top of one another.

    `quirk="official"` is the released code (facebookresearch/jepa, `src/masks/multiblock3d.py`): both are cut in raster
    order, time first, so that contexts are of the clip's early frames nearly alone.
    """

    short: Tube = Tube(blocks=8, scale=0.15)
    long: Tube = Tube(blocks=2, scale=0.7)
    aspect: Range = (0.75, 1.5)
    """Height over width of a block."""
    time: float = Field(1.0, gt=0, le=1)
    """Share of the clip's time through which a tube runs."""
    seen: float = Field(1.0, gt=0, le=1)
    """Share of the clip's time, from its start, of which contexts see anything."""
    min_context: float = Field(0.05, ge=0, lt=1)
    """Least visible share of the tokens."""
    quirk: Literal["none", "official"] = "none"
    augment: Augment = Augment(scale=(0.3, 1.0), ratio=(0.75, 1.35), flip=0.5)
    """Of the clip before it is cut into tubelets, all frames alike."""
    size: tuple[Side, ...] | None = None
    """Height and width of what is cut out of clips in training, or one number; none: the signal's. Smaller ones cost
    less."""

    @model_validator(mode="after")
    def _whole(self) -> "TubeChoice":
        if not 0 < self.aspect[0] <= self.aspect[1]:
            raise ValueError(f"aspect {self.aspect} must rise, above 0")
        if not self.short.blocks and not self.long.blocks:
            raise ValueError("nothing would be hidden: give short.blocks or long.blocks")
        if self.augment.size is not None:
            raise ValueError("augment.size is for images: set size")
        return self

    def tubes(self, signal: VideoSignal) -> "TubeHiding":
        """Raises UserError when no draw could leave `min_context` visible, or `size` does not fit the signal."""
        if self.size is None:
            return TubeHiding(self, signal)
        try:
            return TubeHiding(self, signal.model_validate(signal.model_dump() | {"size": self.size}))
        except ValueError as error:
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"hiding.size {list(self.size)} must be height and width, multiples of the patch, {signal.patch}"
            ) from None


class Tubes(TubeChoice):
    """Two pairs a clip (V-JEPA), see `TubeChoice`."""

    kinds: ClassVar[int] = 2

    kind: Literal["tubes"] = "tubes"

    def build(self, signal: VideoSignal) -> "TubeHiding":
        """Raises UserError, see `TubeChoice.tubes`."""
        return self.tubes(signal)


class TubeHiding:
    """Clips to pairs."""

    def __init__(self, config: TubeChoice, signal: VideoSignal) -> None:
        self.config, self.signal = config, signal
        self.layout = signal.layout
        self.min_keep = max(1, math.ceil(config.min_context * math.prod(self.layout)))
        self.tubes = [(kind, tube) for kind, tube in enumerate((config.short, config.long)) if tube.blocks]
        for _, tube in self.tubes:
            self._check(tube)

    def __call__(self, batch: Tensor, rng: Rng) -> list[Pair]:
        clips = self.signal.to_float(batch)
        return self.hide(
            self.signal.tubelets(augment_clips(self.config.augment, clips, rng, self.signal.sides)), rng
        )

    def hide(self, tokens: Tokens, rng: Rng) -> list[Pair]:
        """The pairs of tokens, under masks that `rng` draws."""
        whole, device = View(tokens), tokens.values.device
        pairs = []
        for kind, tube in self.tubes:
            keep, select = (index.to(device) for index in self.sample(len(tokens.values), tube, rng))
            pairs.append(Pair(View(tokens, keep), (whole,), select.unsqueeze(1), kind=kind))
        return pairs

    def sample(self, batch: int, tube: Tube, rng: Rng) -> tuple[Tensor, Tensor]:
        """Token indices, rising: what contexts see `[B, K]` and what is to be predicted `[B, T]`, never the same.

        Drawn for the global batch, whose shortest all are cut to; this process's rows are returned.
        """
        total = rng.size(batch)
        shape = self._shape(tube, float(rng.shared(1)))
        hidden = self._hidden(shape, self._corners(total, tube.blocks, shape, rng))
        for _ in range(REDRAWS):
            short = self._visible(hidden).sum(1) < self.min_keep
            if not short.any():
                break
            again = self._hidden(shape, self._corners(total, tube.blocks, shape, rng))
            hidden[short] = again[short]
        short = self._visible(hidden).sum(1) < self.min_keep
        if short.any():
            hidden[short] = self._hidden(shape, self._corners(total, 1, shape, rng))[short]
        raster = self.config.quirk == "official"
        keep, select = cut(self._visible(hidden), rng, raster), cut(hidden, rng, raster)
        rows = rng.rows(batch)
        return keep[rows], select[rows]

    def _shape(self, tube: Tube, drawn: float) -> tuple[int, int, int]:
        """Times, rows and columns of a block."""
        low, high = self.config.aspect
        return self._sides(tube, low + drawn * (high - low))

    def _sides(self, tube: Tube, aspect: float) -> tuple[int, int, int]:
        times, rows, columns = self.layout
        area = tube.scale * rows * columns
        if self.config.quirk == "official":
            area = max(1, int(area))
        length = max(1, int(times * self.config.time))
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        return length, max(1, min(h, rows)), max(1, min(w, columns))

    def _corners(self, total: int, count: int, shape: tuple[int, ...], rng: Rng) -> Tensor:
        """First time, row and column of each block, `[total, count, 3]`."""
        room = torch.tensor([side - s + 1 for side, s in zip(self.layout, shape, strict=True)])
        return (torch.rand(total, count, 3, generator=rng.generator()) * room).long()

    def _hidden(self, shape: tuple[int, ...], corners: Tensor) -> Tensor:
        """Whether any block covers a token, `[B, N]` bool."""
        inside = []
        for axis, (side, length) in enumerate(zip(self.layout, shape, strict=True)):
            offset = torch.arange(side) - corners[..., axis, None]
            inside.append((offset >= 0) & (offset < length))  # [B, blocks, side]
        covered = (
            inside[0][..., :, None, None] & inside[1][..., None, :, None] & inside[2][..., None, None, :]
        )
        return covered.any(1).flatten(1)

    def _visible(self, hidden: Tensor) -> Tensor:
        """What contexts may see, `[B, N]` bool."""
        times, rows, columns = self.layout
        early = torch.arange(times) < max(1, math.ceil(times * self.config.seen))
        return ~hidden & early.repeat_interleave(rows * columns)

    def _check(self, tube: Tube) -> None:
        """The largest block alone must leave enough to see."""
        low, high = self.config.aspect
        steps = [low + (high - low) * i / 64 for i in range(65)]
        length, area = max(
            ((sides[0], sides[1] * sides[2]) for sides in (self._sides(tube, a) for a in steps)),
            key=lambda block: block[1],
        )
        times, rows, columns = self.layout
        seen = max(1, math.ceil(times * self.config.seen))
        left = seen * rows * columns - min(length, seen) * area
        if left < self.min_keep:
            raise UserError(
                f"tubes can never hold on a {times}x{rows}x{columns} grid: blocks of {tube.scale:g} of a frame leave "
                f"{left} tokens, fewer than the {self.min_keep} that min_context {self.config.min_context} asks for; "
                "lower hiding.min_context or the blocks' scale, or use a smaller signal.patch"
            )

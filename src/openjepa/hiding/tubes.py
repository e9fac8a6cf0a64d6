"""Tubes through time: what is hidden in one frame is hidden in all (V-JEPA, section 3.2)."""

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.config import Config
from openjepa.errors import UserError
from openjepa.hiding.base import REDRAWS, HidingChoice, Range, boxes, cut
from openjepa.hiding.blocks import seen_from
from openjepa.jepa import Pair, Tokens, View
from openjepa.signals.images.augment import Augment, Parameters
from openjepa.signals.video.augment import augmented_clips
from openjepa.signals.video.signal import Side, VideoSignal

Crop = tuple[Tensor, Parameters]
"""The first frame of each clip, and what was done to its frames."""


class Tube(Config):
    """What one kind of pair hides: the union of some blocks of a frame, through time."""

    blocks: int = Field(8, ge=0, le=256)
    """0: there is no such pair."""
    scale: float = Field(0.15, gt=0, le=1)
    """The size of each block, as a share of the frame."""


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
    """Augmentation of the clip before it is cut into tubelets, all frames alike."""
    size: tuple[Side, ...] | None = None
    """Height and width of what is cut out of clips in training, or one number; none: the signal's. Smaller ones cost
    less."""
    frames: int | None = Field(None, ge=1, le=4096)
    """Frames in training, beginning at a random one of the clip; none: the signal's. Fewer cost less."""
    target_augment: Augment | None = None
    """Augmentation of the target's clip, drawn on its own: context and target are then different crops of one film,
    with `frames` of different times, and the predictor is told where and when the target's tokens are as the context
    counts. None: they are the same crop (the paper)."""

    @model_validator(mode="after")
    def _whole(self) -> "TubeChoice":
        if not 0 < self.aspect[0] <= self.aspect[1]:
            raise ValueError(f"aspect {self.aspect} must rise, above 0")
        if not self.short.blocks and not self.long.blocks:
            raise ValueError("nothing would be hidden: give short.blocks or long.blocks")
        both = {"augment": self.augment, "target_augment": self.target_augment}
        for name, augment in both.items():
            if augment and augment.size is not None:
                raise ValueError(f"{name}.size is for images: set size")
        return self

    def tubes(self, signal: VideoSignal) -> "TubeHiding":
        """Raises UserError when no draw could leave `min_context` visible, or `size` does not fit the signal."""
        frames = self.frames or signal.frames
        if frames > signal.frames or frames % signal.tubelet:
            raise UserError(
                f"hiding.frames {frames} must be at most a clip's, {signal.frames}, and a multiple of the tubelet, "
                f"{signal.tubelet}"
            )
        changed = {"size": self.size or signal.size, "frames": frames}
        try:
            return TubeHiding(self, signal.model_validate(signal.model_dump() | changed))
        except ValueError as error:
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"hiding.size {list(changed['size'])} must be height and width, multiples of the patch, {signal.patch}"
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
        context, seen = self._cut(self.config.augment, clips, rng)
        if self.config.target_augment is None:
            return self.hide(context, rng)
        target, asked = self._cut(self.config.target_augment, clips, rng)
        return self.hide(context, rng, target, self._place(seen, asked, target.positions))

    def _cut(self, augment: Augment, clips: Tensor, rng: Rng) -> tuple[Tokens, Crop]:
        """Tokens of a random crop of each clip, and where it was cut out."""
        drawn = augment.draw(clips[:, 0], rng)
        first = torch.zeros(len(clips), dtype=torch.long)
        length = self.signal.frames
        if clips.shape[1] > length:
            first = (rng.uniform(len(clips)) * (clips.shape[1] - length + 1)).long()
            frames = (first[:, None] + torch.arange(length)).to(clips.device)
            clips = clips[torch.arange(len(clips), device=clips.device)[:, None], frames]
        cut_out = augmented_clips(augment, clips, drawn, self.signal.sides)
        return self.signal.tubelets(cut_out), (first, drawn)

    def _place(self, context: Crop, target: Crop, positions: Tensor) -> Tensor:
        """Positions `[1, N, 3]` of a target's tokens as the context's crop counts, `[B, N, 3]`."""
        (begun, seen), (first, asked) = context, target
        _, rows, columns = self.layout
        plane = seen_from(seen, asked, positions[..., 1:], (rows, columns))
        later = ((first - begun) / self.signal.tubelet).to(positions)[:, None, None]
        return torch.cat([positions[..., :1] + later, plane], -1)

    def hide(
        self, tokens: Tokens, rng: Rng, target: Tokens | None = None, place: Tensor | None = None
    ) -> list[Pair]:
        """The pairs of tokens, under masks that `rng` draws; what is asked for is of `target`, which lies at `place`;
        none: of the same tokens."""
        whole, device = View(target or tokens), tokens.values.device
        pairs = []
        for kind, tube in self.tubes:
            keep, select = (index.to(device) for index in self.sample(len(tokens.values), tube, rng))
            pairs.append(Pair(View(tokens, keep), (whole,), select.unsqueeze(1), place=place, kind=kind))
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
        return boxes(corners, shape, self.layout).any(1).flatten(1)

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

"""Multi-block masks: one large visible block, a few hidden ones (I-JEPA, section 3)."""

import math
from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.hiding.base import REDRAWS, HidingChoice, Range, boxes, cut, require_ranges
from openjepa.jepa import Pair, Tokens, View
from openjepa.signals.images.augment import Augment, Parameters
from openjepa.signals.images.signal import ImageSignal


class Blocks(HidingChoice):
    """The context is one block less the targets, which are `targets` blocks that may overlap one another.

    One size per batch (so that tensors stay rectangular), drawn with scale and aspect independent of each other;
    one place per sample, anywhere on the grid, the last row and column included. Contexts are cut to the batch's
    shortest by a random draw. A sample whose context falls below `min_context` is drawn again, and after
    `REDRAWS` rounds its targets are laid on top of one another, so sampling always ends.

    `quirk="official"` is the released code (facebookresearch/ijepa, `src/masks/multiblock.py`), for continuing
    checkpoints trained with it: one random number serves scale and aspect, blocks never touch the last row and
    column, and contexts are cut in raster order, which all but removes the image's bottom half.
    """

    kind: Literal["blocks"] = "blocks"
    targets: int = Field(4, ge=1, le=256)
    target_scale: Range = (0.15, 0.2)
    """Share of the grid."""
    target_aspect: Range = (0.75, 1.5)
    """Height over width."""
    context_scale: Range = (0.85, 1.0)
    context_aspect: Range = (1.0, 1.0)
    min_context: float = Field(0.05, ge=0, lt=1)
    """Least visible share of the grid (the released code: 10 tokens, which never ends on an 8x8 grid)."""
    quirk: Literal["none", "official"] = "none"
    augment: Augment = Augment(scale=(0.3, 1.0))
    """Augmentation of the image before it is cut into patches; the paper: a random resized crop, nothing else. Images
    have `signal.size` unless it has a `size`: smaller ones cost less."""
    target_augment: Augment | None = None
    """Augmentation of the target's image, drawn on its own: context and target then come from different crops of one
    size, and the predictor is told where the target's tokens lie in the context's crop. None: from the same crop (the
    paper)."""

    @model_validator(mode="after")
    def _ordered(self) -> "Blocks":
        require_ranges(self)
        return self

    def build(self, signal: ImageSignal) -> "BlockHiding":
        """Raises UserError when no draw could leave `min_context` visible."""
        return BlockHiding(self, signal)


class BlockHiding:
    """Images to a pair: the context keeps some tokens, and blocks of all tokens are to be predicted."""

    def __init__(self, config: Blocks, signal: ImageSignal) -> None:
        self.config, self.signal = config, signal
        size = config.augment.size or signal.size
        self.layout = (
            signal.layout if size == signal.size else signal.model_copy(update={"size": size}).layout
        )
        self.augment = config.augment.model_copy(update={"size": size})
        other = config.target_augment
        self.target_augment = other and other.model_copy(update={"size": size})
        self.min_keep = max(1, math.ceil(config.min_context * math.prod(self.layout)))
        self._check()

    def __call__(self, batch: Tensor, rng: Rng) -> list[Pair]:
        images = self.signal.to_float(batch)
        drawn = self.augment.draw(images, rng)
        tokens = self.signal.cut(self.augment.apply(images, drawn))
        keep, select = (index.to(batch.device) for index in self.sample(len(batch), rng))
        if self.target_augment is None:
            return self.apply(tokens, keep, select)
        other = self.target_augment.draw(images, rng)
        hidden = self.signal.cut(self.target_augment.apply(images, other))
        place = seen_from(drawn, other, hidden.positions, self.layout)
        return [Pair(View(tokens, keep), (View(hidden),), select, place=place)]

    def apply(self, tokens: Tokens, keep: Tensor, select: Tensor) -> list[Pair]:
        """The pair of tokens under given masks."""
        return [Pair(View(tokens, keep), (View(tokens),), select)]

    def sample(self, batch: int, rng: Rng) -> tuple[Tensor, Tensor]:
        """Indices in row order: context `[B, K]`, ascending, and targets `[B, M, T]`; disjoint in every sample.

        Drawn for the global batch, whose shortest context all are cut to; this process's rows are returned.
        """
        total, config = rng.size(batch), self.config
        h, w = self._size(config.target_scale, config.target_aspect, rng)
        context = self._size(config.context_scale, config.context_aspect, rng)
        blocks = self._corners(total, config.targets, (h, w), rng)
        visible = self._visible(self._corners(total, 1, context, rng), context, blocks, (h, w))
        for _ in range(REDRAWS):
            short = visible.sum(1) < self.min_keep
            if not short.any():
                break
            blocks[short] = self._corners(total, config.targets, (h, w), rng)[short]
            again = self._visible(self._corners(total, 1, context, rng), context, blocks, (h, w))
            visible[short] = again[short]
        short = visible.sum(1) < self.min_keep
        if short.any():
            blocks[short] = blocks[short, :1]
            corners = self._corners(total, 1, context, rng)
            visible[short] = self._visible(corners, context, blocks, (h, w))[short]
        keep = cut(visible, rng, raster=self.config.quirk == "official")
        select = _block_indices(blocks, (h, w), self.layout[1])
        rows = rng.rows(batch)
        return keep[rows], select[rows]

    def _size(self, scale: Range, aspect: Range, rng: Rng) -> tuple[int, int]:
        draws = rng.shared(2).tolist()
        if self.config.quirk == "official":
            draws[1] = draws[0]
        return self._shape(
            scale[0] + draws[0] * (scale[1] - scale[0]), aspect[0] + draws[1] * (aspect[1] - aspect[0])
        )

    def _shape(self, scale: float, aspect: float) -> tuple[int, int]:
        rows, columns = self.layout
        area = scale * rows * columns
        if self.config.quirk == "official":
            h, w = round(math.sqrt(int(area) * aspect)), round(math.sqrt(int(area) / aspect))
            return max(1, min(h, rows - 1)), max(1, min(w, columns - 1))
        return _clamp(round(math.sqrt(area * aspect)), rows), _clamp(round(math.sqrt(area / aspect)), columns)

    def _corners(self, total: int, count: int, shape: tuple[int, int], rng: Rng) -> Tensor:
        """Top left corners, `[total, count, 2]`."""
        last = 0 if self.config.quirk == "official" else 1
        room = torch.tensor([max(1, side - s + last) for side, s in zip(self.layout, shape, strict=True)])
        return (torch.rand(total, count, 2, generator=rng.generator()) * room).long()

    def _visible(
        self, context: Tensor, context_shape: tuple[int, int], blocks: Tensor, shape: tuple[int, int]
    ) -> Tensor:
        hidden = boxes(blocks, shape, self.layout).any(1)
        return (boxes(context, context_shape, self.layout)[:, 0] & ~hidden).flatten(1)

    def _areas(self, scale: float, aspect: Range) -> list[int]:
        """Tokens of every block that this scale can give."""
        low, high = aspect
        area = scale * math.prod(self.layout)
        if self.config.quirk == "official":
            area = max(1, int(area))
        edges = [(k + 0.5) ** 2 for k in range(max(self.layout))]
        turns = [e / area for e in edges] + [area / e for e in edges]  # where a side's rounding changes
        marks = sorted({low, high, *(a for a in turns if low < a < high)})
        between = [(a + b) / 2 for a, b in pairwise(marks)]
        return [math.prod(self._shape(scale, a)) for a in [*marks, *between]]

    def _check(self) -> None:
        """The worst draw after laying all targets on top of one another must leave enough."""
        config = self.config
        largest = max(self._areas(config.target_scale[1], config.target_aspect))
        smallest = min(self._areas(config.context_scale[0], config.context_aspect))
        if smallest - largest < self.min_keep:
            rows, columns = self.layout
            raise UserError(
                f"masks can never hold on a {rows}x{columns} grid: a context block of {smallest} tokens less a target "
                f"of {largest} leaves fewer than the {self.min_keep} that min_context {config.min_context} asks for; "
                f"lower hiding.min_context or hiding.target_scale, or use a smaller signal.patch"
            )


def seen_from(context: Parameters, target: Parameters, positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Positions `[1, N, 2]` on the grid of a target's crop as positions `[B, N, 2]` on that of its context's crop."""
    sides = positions.new_tensor(grid)
    share = (positions + 0.5) / sides

    def mirrored(share: Tensor, flip: Tensor) -> Tensor:
        row, column = share.unbind(-1)
        return torch.stack([row, torch.where(flip.to(share.device)[:, None], 1 - column, column)], -1)

    a, b = (p.crop.to(positions)[:, None] for p in (target, context))
    image = a[..., :2] + a[..., 2:] * mirrored(share.expand(len(a), -1, -1), target.flip)
    return mirrored((image - b[..., :2]) / b[..., 2:], context.flip) * sides - 0.5


def _clamp(value: int, most: int) -> int:
    return max(1, min(value, most))


def _block_indices(corners: Tensor, shape: tuple[int, int], columns: int) -> Tensor:
    """`[B, M, 2]` corners to `[B, M, T]` token indices in row order."""
    inner = torch.cartesian_prod(torch.arange(shape[0]), torch.arange(shape[1]))
    cells = corners.unsqueeze(2) + inner
    return cells[..., 0] * columns + cells[..., 1]

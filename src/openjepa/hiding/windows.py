"""Windows of an image, each a sequence of its own of which most is hidden (LoMaR, SAR-JEPA)."""

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.hiding.base import HidingChoice
from openjepa.jepa import Pair, Tokens, View, gather
from openjepa.signals.images.augment import Augment
from openjepa.signals.images.signal import ImageSignal, grid_positions


class Windows(HidingChoice):
    """Each sample's `windows` squares of tokens, in each of which a random `share` is hidden and is to be predicted.

    A window is a context by itself, in coordinates of its own. No two windows of a sample begin in the same row, nor in
    the same column. Targets are of the whole image.
    """

    kind: Literal["windows"] = "windows"
    windows: int = Field(4, ge=1, le=64)
    side: int = Field(7, ge=2, le=256)
    """The side of a window, in tokens."""
    share: float = Field(0.8, gt=0, lt=1)
    """The share of a window's tokens that are hidden, rounded down; at least one is hidden."""
    augment: Augment = Augment(
        scale=(0.2, 1.0), flip=0.5, jitter=1.0, brightness=0.0, contrast=0.5, saturation=0.0, hue=0.0
    )
    """Augmentation of the image before it is cut into patches."""

    def build(self, signal: ImageSignal) -> "WindowHiding":
        """Raises UserError where the grid has too few places for the windows."""
        size = self.augment.size or signal.size
        rows, columns = signal.model_copy(update={"size": size}).layout
        if min(rows, columns) - self.side + 1 < self.windows:
            raise UserError(
                f"{self.windows} windows of {self.side} x {self.side} tokens do not fit a grid of {rows} x {columns} "
                f"without sharing a first row: lower hiding.windows or hiding.side, or use a smaller signal.patch"
            )
        return WindowHiding(self, signal)


class WindowHiding:
    """Images to pairs, a window each, which share their targets."""

    def __init__(self, config: Windows, signal: Any) -> None:
        self.config, self.signal = config, signal
        self.hidden = max(1, int(config.side**2 * config.share))

    def __call__(self, batch: Tensor, rng: Rng) -> list[Pair]:
        return self.apply(self.signal.cut(self.config.augment(self.signal.to_float(batch), rng)), rng)

    def apply(self, tokens: Tokens, rng: Rng) -> list[Pair]:
        """The pairs of tokens on a grid."""
        assert tokens.layout is not None
        corners, keep, hidden = (part.to(tokens.values.device) for part in self.sample(tokens, rng))
        side, target = self.config.side, View(tokens)
        inside = grid_positions(side, side, tokens.values.device)  # [1, side * side, 2]
        found = []
        for corner, kept, asked in zip(corners.unbind(1), keep.unbind(1), hidden.unbind(1), strict=True):
            cells = corner[:, None] + inside.long()
            index = cells[..., 0] * tokens.layout[1] + cells[..., 1]
            window = Tokens(gather(tokens.values, index), inside, (side, side))
            found.append(
                Pair(
                    View(window, kept),
                    (target,),
                    index.gather(1, asked).unsqueeze(1),
                    place=tokens.positions - corner[:, None],
                    within=asked.unsqueeze(1),
                )
            )
        return found

    def sample(self, tokens: Tokens, rng: Rng) -> tuple[Tensor, Tensor, Tensor]:
        """First rows and columns `[B, M, 2]`, and of each window's tokens those kept and those hidden, `[B, M, ...]`,
        rising."""
        assert tokens.layout is not None
        batch, config = len(tokens.values), self.config
        starts = [
            rng.uniform(batch, length - config.side + 1).argsort(1)[:, : config.windows]
            for length in tokens.layout
        ]
        order = rng.uniform(batch, config.windows, config.side**2).argsort(2)
        hidden, keep = order.tensor_split([self.hidden], 2)
        return torch.stack(starts, 2), keep.sort(2).values, hidden.sort(2).values

"""Clips as tubelets with positions."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from openjepa.config import Positive
from openjepa.errors import UserError
from openjepa.jepa import Tokens
from openjepa.signals import pictures
from openjepa.signals.base import Signal
from openjepa.signals.pictures import Marks, Picture, Pixels
from openjepa.signals.tasks import Tasks
from openjepa.signals.video import open_video
from openjepa.signals.video.clips import ClipCut, ClipSet
from openjepa.signals.video.tasks import video_tasks

MOST_TOKENS = 256**2
COLOURED = 96
"""Longer side in pixels of a frame's colours in a picture."""
Side = Annotated[int, Field(ge=1, le=4096)]
"""In pixels."""
UCF9 = {"mean": [0.393, 0.363, 0.321], "std": [0.276, 0.259, 0.251]}
"""Of the pixels of nine classes of UCF-101 in 0..1, per channel."""


class VideoSignal(Signal):
    """A clip becomes tubelets, blocks of a few frames and a square of pixels, each a token at (time, row, column)."""

    kind: Literal["video"] = "video"
    noun: ClassVar[str] = "clips"
    axes: ClassVar[tuple[str, ...]] = ("time", "row", "column")

    size: tuple[Side, ...] = (224,)
    """Height and width in pixels of what the encoder sees in training; one number for squares."""
    frames: int = Field(16, ge=1, le=4096)
    """T, of a clip."""
    stride: int = Field(4, ge=1, le=10_000)
    """The distance from one frame of a clip to the next, in frames of its film; the encoder is told no time stamps."""
    fps: float | None = Field(None, gt=0, le=10_000)
    """Frames a second of a clip, whatever its film's rate, in the place of `stride`."""
    channels: int = Field(3, ge=1, le=4096)
    tubelet: int = Field(2, ge=1, le=4096)
    """Frames of a token."""
    patch: int = Field(16, ge=1, le=4096)
    """Side of a token in pixels."""
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    """Per channel, of pixels in 0..1; one number serves all channels."""
    std: tuple[Positive, ...] = (0.229, 0.224, 0.225)
    group: str = ""
    """How the names of files tell which source a clip is of, e.g. `{group}-{clip}`: no split takes a group apart."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.size) not in (1, 2):
            raise ValueError(f"size {list(self.size)} must be height and width, or one number")
        if any(side % self.patch for side in self.size):
            raise ValueError(f"size {list(self.size)} is not a multiple of the patch, {self.patch}")
        if self.frames % self.tubelet:
            raise ValueError(f"frames {self.frames} are not a multiple of the tubelet, {self.tubelet}")
        if math.prod(self.layout) > MOST_TOKENS:
            raise ValueError(
                f"{' x '.join(map(str, self.layout))} tubelets are more than {MOST_TOKENS:,} tokens: use larger "
                "patches, smaller frames or fewer"
            )
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.channels):
                raise ValueError(f"{name} has {len(values)} numbers for {self.channels} channels")
        return self

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.size[0], self.size[-1]

    @property
    def layout(self) -> tuple[int, ...]:
        """Times, rows and columns of tokens of a clip of `frames` and `size`."""
        return self.frames // self.tubelet, self.sides[0] // self.patch, self.sides[1] // self.patch

    @property
    def plane_channels(self) -> int:
        """Channels of what `planes` gives."""
        return self.channels * self.tubelet

    @property
    def features(self) -> int:
        """Numbers in a raw token."""
        return self.channels * self.tubelet * self.patch**2

    @property
    def cut(self) -> ClipCut:
        """Which frames of a film make a clip."""
        return ClipCut(self.frames, self.stride, self.fps)

    def open(self, data: Any, split: str = "train", *, adapt: bool = False) -> ClipSet:
        """Clips of the config's length and size; in the config's channels unless `adapt`.

        Raises:
            UserError: data that cannot be read, or clips of another shape.
        """
        if isinstance(data, ClipSet):
            if data.shape[0] != self.frames or data.shape[2:] != self.sides:
                raise UserError(
                    f"clips of shape {list(data.shape)} are not [{self.frames}, C, {self.sides[0]}, {self.sides[1]}]: "
                    "open them with the size and the frames of the signal"
                )
            return data
        channels = None if adapt else self.channels
        return open_video(data, self.cut, split=split, size=self.sides, channels=channels, group=self.group)

    def fitted(self, samples: ClipSet) -> Self:
        """The signal with the clips' channels, and for others than it had the mean of what it is normalised by."""
        channels = samples.shape[1]
        if channels == self.channels:
            return self
        one = {name: [sum(v) / len(v)] for name, v in (("mean", self.mean), ("std", self.std))}
        return type(self).parse(self.model_dump(mode="json") | {"channels": channels} | one)

    def batch(self, raw: Any) -> Tensor:
        """Arrays `[B, T, C, H, W]`, `[B, T, H, W, C]` or grey `[B, T, H, W]` as uint8 `[B, T, C, H, W]` of the config's
        length and size.

        Raises:
            UserError: another shape, type or range.
        """
        if isinstance(raw, Tensor) and raw.dtype == torch.uint8 and raw.dim() == 5:
            return raw
        clips = open_video(raw, ClipCut(len(raw[0])), size=self.sides, channels=self.channels)
        return clips.read(range(len(clips)))

    def to_float(self, batch: Tensor) -> Tensor:
        """`[B, T, C, H, W]` in 0..1 of clips as their set gives them.

        Raises:
            UserError: wrong shape, or a clip smaller than a tubelet.
        """
        self._check(batch)
        return batch.float() / 255 if batch.dtype == torch.uint8 else batch.float()

    def tokenise(self, batch: Tensor) -> Tokens:
        """Clips as their set gives them, normalised and cut into tubelets."""
        return self.tubelets(self.to_float(batch))

    @property
    def traced_meaning(self) -> str:
        return "pixels of clips, as bytes"

    def traced_input(self, count: int) -> Tensor:
        return torch.randint(0, 256, (count, self.frames, self.channels, *self.sides), dtype=torch.uint8)

    def tubelets(self, clips: Tensor) -> Tokens:
        """Clips in 0..1, normalised and cut into tubelets; what is left over at the edges and the end is cropped."""
        self._check(clips)
        mean, std = (clips.new_tensor(v).view(-1, 1, 1) for v in (self.mean, self.std))
        clips = (clips - mean) / std
        times, rows, columns = (
            clips.shape[1] // self.tubelet,
            clips.shape[3] // self.patch,
            clips.shape[4] // self.patch,
        )
        top, left = (clips.shape[3] - rows * self.patch) // 2, (clips.shape[4] - columns * self.patch) // 2
        clips = clips[
            :, : times * self.tubelet, :, top : top + rows * self.patch, left : left + columns * self.patch
        ]
        blocks = clips.unflatten(4, (columns, self.patch)).unflatten(3, (rows, self.patch))
        blocks = blocks.unflatten(1, (times, self.tubelet))  # [B, t, dt, C, r, dr, c, dc]
        values = blocks.permute(0, 1, 4, 6, 3, 2, 5, 7).flatten(4).flatten(1, 3)
        return Tokens(values, positions((times, rows, columns), clips.device), (times, rows, columns))

    def fold(self, tokens: Tokens) -> Tensor:
        """The inverse: normalised clips `[B, T, C, H, W]` from tubelets that fill a grid."""
        assert tokens.layout is not None
        times, rows, columns = tokens.layout
        sides = (self.channels, self.tubelet, self.patch, self.patch)
        blocks = tokens.values.view(-1, times, rows, columns, *sides)
        return blocks.permute(0, 1, 5, 4, 2, 6, 3, 7).flatten(6).flatten(4, 5).flatten(1, 2)

    def planes(self, tokens: Tokens) -> Tensor:
        """What convolutions over rows and columns see: `[B * times, C * tubelet, H, W]`."""
        assert tokens.layout is not None
        _, rows, columns = tokens.layout
        blocks = tokens.values.view(-1, rows, columns, self.plane_channels, self.patch, self.patch)
        return blocks.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)

    def tasks(self, batch: Tensor) -> Tasks:
        """Questions without labels about clips."""
        return video_tasks(batch)

    def classical(self, level: str = "all") -> list[Any]:
        """What a user can have of clips without training, to stand beside a model's features."""
        from openjepa.signals.video.classical import classical

        return classical(level)

    def restored(self, tokens: Tokens) -> Tensor:
        """Clips `[B, T, C, H, W]` in 0..1, of their tubelets."""
        clips = self.fold(tokens).float()
        mean, std = (clips.new_tensor(v).view(-1, 1, 1) for v in (self.mean, self.std))
        return (clips * std + mean).clamp(0, 1)

    def picture(self, batch: Tensor, row: int, marks: Marks | None = None) -> Picture:
        """A film strip, the first frame of each tubelet; tubelets hidden, outlined, or in colours, as `marks` say."""
        frames = batch[row, : len(batch[row]) // self.tubelet * self.tubelet : self.tubelet].cpu().numpy()
        image = np.concatenate([pictures.to_rgb(frame) for frame in frames], 1)
        if marks is None:
            return Picture(image, wide=True)
        layout = marks.layout or (len(frames), frames.shape[2] // self.patch, frames.shape[3] // self.patch)

        def strip(values: np.ndarray) -> np.ndarray:
            """`[N, ...]` as `[rows, times * columns, ...]`."""
            return np.concatenate(list(values.reshape(*layout, *values.shape[1:])), 1)

        if marks.colour is not None:
            shown = [pictures.smooth(cells, COLOURED) for cells in marks.colour.reshape(*layout, 3)]
            return Picture(np.concatenate(shown, 1), wide=True, smooth=True)
        if marks.error is not None:
            return Picture(pictures.heat(image, strip(marks.error)), wide=True)
        drawing = ""
        if marks.blocks is not None:
            drawing = pictures.outlines(np.stack([strip(block) for block in marks.blocks]))
        if marks.hidden is not None:
            image = pictures.only(image, ~strip(marks.hidden), pictures.FAINT if marks.faint else 0)
        return Picture(image, drawing, wide=True)

    def film(self, batch: Tensor, row: int, marks: Marks | None = None) -> list[Pixels]:
        """Every frame of a clip, uint8 `[H, W, 3]`; what is hidden is dark, errors are colours, as `marks` say."""
        frames = [pictures.to_rgb(frame) for frame in batch[row].cpu().numpy()]
        whole = len(frames) // self.tubelet * self.tubelet
        if marks is None:
            return frames[:whole]
        rows, columns = frames[0].shape[0] // self.patch, frames[0].shape[1] // self.patch

        def shown(image: Pixels, token: int) -> Pixels:
            """The frame under the marks of its tubelet."""
            if marks.error is not None:
                return pictures.flat(pictures.heat(image, marks.error.reshape(-1, rows, columns)[token]))
            if marks.hidden is not None:
                kept = ~marks.hidden.reshape(-1, rows, columns)[token]
                return pictures.flat(pictures.only(image, kept, pictures.FAINT))
            return image

        return [shown(image, i // self.tubelet) for i, image in enumerate(frames[:whole])]

    def _check(self, batch: Tensor) -> None:
        if batch.dim() != 5 or batch.shape[2] != self.channels:
            raise UserError(
                f"a batch of shape {list(batch.shape)} is not [B, T, {self.channels}, H, W]: "
                "set signal.channels to the clips' channels"
            )
        if batch.shape[1] < self.tubelet or min(batch.shape[3:]) < self.patch:
            raise UserError(
                f"clips of {batch.shape[1]} frames of {batch.shape[3]}x{batch.shape[4]} px are smaller than a tubelet "
                f"of {self.tubelet} frames of {self.patch} px: use smaller ones"
            )


def positions(layout: Sequence[int], device: torch.device | None = None) -> Tensor:
    """`[1, prod(layout), rank]`: the places of a grid's tokens in row order, the last axis fastest."""
    axes = (torch.arange(n, device=device, dtype=torch.float32) for n in layout)
    return torch.cartesian_prod(*axes).view(1, -1, len(layout))

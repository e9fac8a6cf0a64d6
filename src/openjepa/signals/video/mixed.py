"""Clips and images in one stream: a step sees as many of one as of the other, each cut into tokens of its own kind."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.jepa import Tokens
from openjepa.signals.base import Batch
from openjepa.signals.images import ImageSet, open_images
from openjepa.signals.images.arrays import to_pixels
from openjepa.signals.pictures import Marks, Picture, Pixels
from openjepa.signals.tasks import Tasks
from openjepa.signals.video.clips import ClipSet
from openjepa.signals.video.signal import VideoSignal


@dataclass(frozen=True, eq=False)
class ClipsAndImages(Batch):
    """B clips and as many images.

    Attributes:
        clips: uint8 `[B, T, C, H, W]`.
        images: uint8 `[B, C, h, w]`, which have nothing to do with the clips.
    """

    clips: Tensor
    images: Tensor


class MixedSet:
    """Clips, and beside each an image of another set: in training one drawn at random, else always the same one."""

    noun: ClassVar[str] = "clips"

    def __init__(self, clips: ClipSet, images: ImageSet) -> None:
        self.clips, self.images = clips, images
        self.name, self.labels, self.shape = clips.name, clips.labels, clips.shape
        self.in_memory = clips.in_memory and images.in_memory

    def __len__(self) -> int:
        return len(self.clips)

    def read(self, indices: Any, rng: Rng | None = None) -> ClipsAndImages:
        """Clips as `ClipSet.read` gives them, with images."""
        count = len(self.images)
        chosen = torch.as_tensor(indices, dtype=torch.long)
        beside = chosen % count
        if rng is not None:
            beside = (rng.stream("images").uniform(len(chosen)) * count).long().clamp_max(count - 1)
        return ClipsAndImages(self.clips.read(chosen, rng), self.images.read(beside))

    def describe(self) -> dict[str, Any]:
        """As `ClipSet.describe`, and `images`, the same of them."""
        return self.clips.describe() | {"images": self.images.describe()}


class MixedSignal(VideoSignal):
    """Clips become tubelets; images become patches of one frame, at time 0, with a stem of their own in the encoder."""

    kind: Literal["clips-and-images"] = "clips-and-images"  # ty: ignore[incompatible-attribute-override]

    images: str = ""
    """Images to train on beside the clips, as `openjepa train i-jepa --data` takes them; none: frames of the clips."""
    image_size: int = Field(256, ge=1, le=4096)
    """Side in pixels of those images."""

    @model_validator(mode="after")
    def _two_kinds(self) -> Self:
        if self.tubelet < 2:
            raise ValueError("a tubelet of 1 frame is what an image is: use a larger signal.tubelet")
        if self.image_size < self.patch:
            raise ValueError(f"image_size {self.image_size} is smaller than the patch, {self.patch}")
        return self

    @property
    def modalities(self) -> tuple[int, ...]:
        """Numbers in a raw token of clips and in one of images."""
        return self.features, self.still.features

    @property
    def still(self) -> VideoSignal:
        """Images as clips of one frame, whose tokens are of one frame."""
        kept = {name: getattr(self, name) for name in ("size", "channels", "patch", "mean", "std")}
        return VideoSignal(frames=1, tubelet=1, **kept)

    def open(self, data: Any, split: str = "train", *, adapt: bool = False) -> Any:
        if isinstance(data, MixedSet):
            return data
        return super().open(data, split, adapt=adapt)

    def beside(self, clips: ClipSet) -> ClipSet | MixedSet:
        """The clips to train on with the images beside them, where some are named.

        Raises:
            UserError: the images cannot be read.
        """
        if not self.images:
            return clips
        return MixedSet(clips, open_images(self.images, size=self.image_size, channels=clips.shape[1]))

    def both(self, batch: Tensor | ClipsAndImages, rng: Rng) -> tuple[Tensor, Tensor]:
        """Clips `[B, T, C, H, W]` and images `[B, 1, C, h, w]`; of clips alone, a frame of each at random."""
        if isinstance(batch, ClipsAndImages):
            return batch.clips, batch.images.unsqueeze(1)
        length = batch.shape[1]
        shown = (rng.stream("frames").uniform(len(batch)) * length).long().clamp_max(length - 1)
        rows = torch.arange(len(batch), device=batch.device)
        return batch, batch[rows, shown.to(batch.device)].unsqueeze(1)

    def batch(self, raw: Any) -> Any:
        """A user's clips, see `VideoSignal.batch`, or images `[B, C, H, W]` or `[B, H, W, C]`, of any size."""
        if isinstance(raw, ClipsAndImages):
            return raw
        if getattr(raw, "ndim", 0) != 4 or self.channels not in (raw.shape[1], raw.shape[-1]):
            return super().batch(raw)
        first = raw.shape[1] == self.channels and (isinstance(raw, Tensor) or raw.shape[-1] != self.channels)
        axis = 1 if first else 3
        moved = raw.movedim(axis, 1) if isinstance(raw, Tensor) else np.moveaxis(raw, axis, 1)
        return to_pixels(moved.reshape(-1, *moved.shape[2:])).view(tuple(moved.shape))

    def tokenise(self, batch: Any) -> Tokens:
        """Of clips; of images `[B, C, H, W]`, theirs."""
        if isinstance(batch, ClipsAndImages):
            batch = batch.clips
        return self.still.tokenise(batch.unsqueeze(1)) if batch.dim() == 4 else super().tokenise(batch)

    def tasks(self, batch: Any) -> Tasks:
        return super().tasks(batch.clips if isinstance(batch, ClipsAndImages) else batch)

    def restored(self, tokens: Tokens) -> Tensor:
        if tokens.values.shape[-1] == self.still.features:
            return self.still.restored(tokens)
        return super().restored(tokens)

    def film(self, batch: Any, row: int, marks: Marks | None = None) -> list[Pixels]:
        return super().film(batch.clips if isinstance(batch, ClipsAndImages) else batch, row, marks)

    def picture(self, batch: Any, row: int, marks: Marks | None = None) -> Picture:
        if isinstance(batch, ClipsAndImages):
            batch = batch.clips
        if batch.dim() == 4:
            batch = batch.unsqueeze(1)
        return (
            self.still.picture(batch, row, marks)
            if batch.shape[1] == 1
            else super().picture(batch, row, marks)
        )

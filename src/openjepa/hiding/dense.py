"""Tubes in clips and blocks in images, of which all tokens are predicted, hidden and visible (V-JEPA 2.1)."""

from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.config import Config
from openjepa.errors import UserError
from openjepa.hiding.tubes import Tube, TubeChoice
from openjepa.jepa import Pair, gather
from openjepa.signals.images.augment import Augment
from openjepa.signals.video.augment import augment_clips
from openjepa.signals.video.mixed import ClipsAndImages, MixedSignal
from openjepa.signals.video.signal import Side


class Visible(Config):
    """How much the energy of tokens that the context sees weighs beside that of hidden ones.

    A token's weight is that of its kind over the square root of its distance to the nearest hidden token, on the grid
    of tokens; it rises with the run.
    """

    clips: float = Field(0.5, ge=0)
    images: float = Field(0.7, ge=0)
    start: float = Field(1 / 9, ge=0, le=1)
    """Share of the run at which the weight begins to rise from 0."""
    full: float = Field(2 / 9, ge=0, le=1)
    """Share at which it is whole."""

    @model_validator(mode="after")
    def _rises(self) -> "Visible":
        if self.full < self.start:
            raise ValueError(f"full {self.full} must not come before start {self.start}")
        return self

    def share(self, progress: float) -> float:
        """Of the weight, at `progress` of the run in 0..1."""
        if progress >= self.full:
            return 1.0
        return max(0.0, (progress - self.start) / (self.full - self.start))


class DenseTubes(TubeChoice):
    """Of clips two pairs, see `TubeChoice`, of images one pair more, whose tokens have no time."""

    kinds: ClassVar[int] = 3
    dense: ClassVar[bool] = True

    kind: Literal["dense-tubes"] = "dense-tubes"
    image: Tube = Tube(blocks=10, scale=0.15)
    """What is hidden of images."""
    image_augment: Augment = Augment(scale=(0.3, 1.0), ratio=(0.75, 1.35), flip=0.5)
    image_size: tuple[Side, ...] | None = None
    """Height and width of what is cut out of images in training; none: the signal's `image_size`, or of frames of
    clips what is cut out of clips."""
    visible: Visible = Visible()

    @model_validator(mode="after")
    def _images(self) -> "DenseTubes":
        if not self.image.blocks:
            raise ValueError("nothing of images would be hidden: give image.blocks")
        if self.target_augment is not None:
            raise ValueError(
                "target_augment is another crop, in which what the context sees has other tokens: leave it out"
            )
        if self.image_augment.size is not None:
            raise ValueError("image_augment.size is not used here: set image_size")
        return self

    def build(self, signal: Any) -> "DenseTubeHiding":
        if not isinstance(signal, MixedSignal):
            raise UserError(
                "--hiding dense-tubes hides tokens of clips and of images, the signal has no images: use --hiding tubes"
            )
        return DenseTubeHiding(self, signal)


class DenseTubeHiding:
    """Clips, or clips and images, to three pairs."""

    def __init__(self, config: DenseTubes, signal: MixedSignal) -> None:
        self.config, self.signal = config, signal
        self.clips = config.tubes(signal)
        size = config.image_size or ((signal.image_size,) if signal.images else self.clips.signal.size)
        still = signal.still
        if any(side % still.patch for side in size):
            raise UserError(
                f"images of {list(size)} px do not divide into patches of {still.patch} px: set hiding.image_size"
            )
        only: dict[str, Any] = {"short": config.image, "long": Tube(blocks=0), "time": 1.0, "seen": 1.0}
        only |= {"size": None, "frames": None}
        self.images = config.model_copy(update=only).tubes(still.model_copy(update={"size": tuple(size)}))

    def __call__(self, batch: Tensor | ClipsAndImages, rng: Rng) -> list[Pair]:
        clips, images = self.signal.both(batch, rng)
        pairs, apart = self.clips(clips, rng), rng.stream("image masks")
        still = self.images.signal
        shown = augment_clips(self.config.image_augment, still.to_float(images), apart, still.sides)
        (pair,) = self.images.hide(still.tubelets(shown), apart)
        visible, share = self.config.visible, self.config.visible.share(rng.progress)
        found = [dense(pair, share * visible.clips) for pair in pairs]
        return [*found, dense(replace(pair, kind=self.config.kinds - 1), share * visible.images)]


def dense(pair: Pair, weight: float) -> Pair:
    """The pair with the context's tokens asked for as well, after the hidden ones.

    Their energies weigh so that the mean over all that is asked for is the mean over hidden tokens plus the mean over
    visible ones, each of these times `weight / sqrt(distance)`.
    """
    keep, hidden = pair.context.keep, pair.select
    assert keep is not None and hidden is not None and hidden.shape[1] == 1
    kept, asked = keep.shape[1], hidden.shape[2]
    near = weight / distances(pair).sqrt()
    total = kept + asked
    whole = torch.cat([near.new_full((len(keep), asked), total / asked), near * (total / kept)], 1)
    select = torch.cat([hidden, keep.unsqueeze(1)], 2)
    return replace(pair, select=select, weight=whole.unsqueeze(1), visible=kept)


def distances(pair: Pair) -> Tensor:
    """How far each token that the context keeps is from the nearest hidden one, in tokens, `[B, K]`."""
    keep, hidden = pair.context.keep, pair.select
    assert keep is not None and hidden is not None
    places = pair.context.tokens.positions
    here, there = gather(places, keep), gather(places, hidden[:, 0])
    return torch.cdist(here, there, compute_mode="donot_use_mm_for_euclid_dist").amin(-1)

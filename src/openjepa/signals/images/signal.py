"""Images as patches with positions."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import BeforeValidator, Field, model_validator
from torch import Tensor

from openjepa.config import Positive
from openjepa.errors import UserError
from openjepa.jepa import Tokens
from openjepa.signals import pictures
from openjepa.signals.base import Signal
from openjepa.signals.images import ImageSet, open_images
from openjepa.signals.images.arrays import open_arrays
from openjepa.signals.images.fitting import MEASURABLE, check_units, fitted, shortened, suited_patch
from openjepa.signals.images.tasks import image_tasks
from openjepa.signals.images.tiles import TiledImages, suited_tiles
from openjepa.signals.images.values import scale, to_tensor
from openjepa.signals.pictures import Marks, Picture
from openjepa.signals.tasks import Tasks

CIFAR10 = {"mean": [0.491, 0.482, 0.447], "std": [0.245, 0.243, 0.261]}
"""Mean and spread of its training pixels in 0..1, per channel."""

MOST_TOKENS = 256**2
AUTO = 0
"""Tiles that `auto` means, until it has seen the images."""
MOST_PIXELS = 2**29
"""Values of an image that is cut into tiles."""
COLOURED = 96
"""Longer side in pixels of a picture of the patches' colours."""


class ImageSignal(Signal):
    """An image becomes square patches, each a token at its (row, column)."""

    noun: ClassVar[str] = "images"
    axes: ClassVar[tuple[str, ...]] = ("row", "column")

    kind: Literal["image"] = "image"
    size: int = Field(224, ge=1, le=4096)
    """Side in pixels of what the encoder sees in training."""
    channels: int = Field(3, ge=1, le=4096)
    patch: int = Field(16, ge=1, le=4096)
    """Side of a patch in pixels."""
    range: tuple[float, float] | None = None
    """The values that become 0 and 1; none: bytes 0..255, or fractions 0..1."""
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    """Per channel, of values scaled to 0..1; one number serves all channels."""
    std: tuple[Positive, ...] = (0.229, 0.224, 0.225)
    tiles: Annotated[int, BeforeValidator(lambda value: AUTO if value == "auto" else value)] = Field(
        1, ge=0, le=64
    )
    """Tiles of `size` along a side into which each image is cut, for large images with small objects; `auto`: as many
    as shrink a tile to no less than half of what it is in the file, at most 8."""
    measure: tuple[Literal["range", "mean", "std"], ...] = ()
    """What is measured on the training images; what is set by hand is not."""

    @model_validator(mode="after")
    def _fits(self) -> "ImageSignal":
        if self.size < self.patch:
            raise ValueError(
                f"images of {self.size} px are smaller than a patch of {self.patch} px: use a smaller patch"
            )
        if self.size % self.patch:
            raise ValueError(f"size {self.size} is not a multiple of the patch, {self.patch}")
        if (self.size // self.patch) ** 2 > MOST_TOKENS:
            raise ValueError(
                f"{self.size // self.patch} x {self.size // self.patch} patches are more than {MOST_TOKENS:,} tokens: "
                "use larger patches or smaller images"
            )
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.channels):
                raise ValueError(f"{name} has {len(values)} numbers for {self.channels} channels")
        if self.channels * (self.tiles * self.size) ** 2 > MOST_PIXELS:
            raise ValueError(
                f"{self.tiles} tiles of {self.size} px along a side are images of {self.tiles * self.size} px: use "
                "fewer, or smaller ones"
            )
        if self.range is not None and self.range[0] >= self.range[1]:
            raise ValueError(f"range {list(self.range)} must be two numbers in ascending order")
        return self

    @property
    def layout(self) -> tuple[int, int]:
        """Rows and columns of patches of an image of `size`."""
        return self.size // self.patch, self.size // self.patch

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.size, self.size

    @property
    def plane_channels(self) -> int:
        """Channels of what `planes` gives."""
        return self.channels

    @property
    def features(self) -> int:
        """Numbers in a raw token."""
        return self.channels * self.patch**2

    def classical(self, level: str = "all") -> list[Any]:
        """What a user can have of images without training, to stand beside a model's features."""
        from openjepa.signals.images.classical import classical

        return classical(level)

    @classmethod
    def by_hand(
        cls, plain: Mapping[str, Any], saved: Mapping[str, Any], changes: Mapping[str, str]
    ) -> dict[str, Any]:
        signal, found = dict(plain), saved.get("measure") or ()
        given = {name for name in MEASURABLE if name in saved and name not in found}
        given |= {name for name in MEASURABLE if f"signal.{name}" in changes}
        if "signal.measure" not in changes:
            signal["measure"] = [name for name in MEASURABLE if name not in given]
        for name in ("mean", "std"):  # until they are measured
            values = signal.get(name)
            if name in signal.get("measure", ()) and isinstance(values, list | tuple):
                fits = len(values) in (1, signal.get("channels"))
                signal[name] = values if fits else [sum(values) / len(values)]
        return signal

    def open(self, data: Any, split: str = "train", *, adapt: bool = False) -> ImageSet:
        """Images of `size`, as `open_images` reads them; with `adapt` in their own channels."""
        if isinstance(data, ImageSet):
            return data
        channels = None if adapt else self.channels
        if self.tiles == 1:
            return open_images(data, split=split, size=self.size, channels=channels)
        tiles = self.tiles
        if tiles == AUTO:
            whole = open_images(data, split=split, size=self.size, channels=channels)
            if (tiles := suited_tiles(whole)) == 1:
                return whole
        return TiledImages.of(
            open_images(data, split=split, size=tiles * self.size, channels=channels), tiles
        )

    def from_array(self, array: Any, given: Mapping[str, Any], name: str = "array") -> ImageSet:
        """Images as `open_images` reads an array, neither resized nor recoloured."""
        channels = given.get("signal.channels")
        return open_arrays(array, None, None, None if channels is None else int(str(channels)), name)

    def suited(self, samples: ImageSet, given: Mapping[str, Any]) -> dict[str, Any]:
        """The size that patches fill, a patch where this one does not suit, the channels."""
        side = min(samples.shape[1:])
        patch = int(str(given.get("signal.patch", suited_patch(side, self.patch))))
        size = max(patch, side // patch * patch)
        return {"signal.size": size, "signal.patch": patch, "signal.channels": samples.shape[0]}

    def check(self, samples: ImageSet) -> None:
        """Warn where images seem to be in other units than those that were trained on."""
        check_units(samples, self)

    def fitted(self, samples: ImageSet) -> Self:
        """Channels are those of the images; range, mean and std, unless set by hand, are measured on them."""
        found = fitted(self, samples) | {"tiles": samples.tiles}
        return type(self).parse(self.model_dump(mode="json") | found)

    def changed(self, before: Self) -> str:
        said = []
        if self.channels != before.channels:
            said.append(f"the data have {self.channels} channels, not {before.channels}")
        if self.range != before.range and self.range is not None:
            said.append(f"values from {self.range[0]:g} to {self.range[1]:g} become 0 to 1")
        if said:
            said.append(f"normalising with mean {shortened(self.mean)} and std {shortened(self.std)}")
        return "; ".join(said)

    def tasks(self, batch: Any) -> Tasks:
        return image_tasks(torch.as_tensor(batch))

    def batch(self, raw: Any) -> Tensor:
        """An array of any numbers as a tensor. Raises UserError for what are no numbers."""
        return raw if isinstance(raw, Tensor) else to_tensor(raw)

    def to_float(self, batch: Tensor) -> Tensor:
        """`[B, C, H, W]` in the units of the training images, as float32 in about 0..1.

        Raises:
            UserError: wrong shape, an image smaller than a patch, or values that the model cannot mean (see `scale`).
        """
        self._check(batch)
        return scale(batch, self.range)

    def tokenise(self, batch: Tensor) -> Tokens:
        """Images in the units of the training images, scaled, normalised and cut into patches."""
        return self.cut(self.to_float(batch))

    @property
    def traced_meaning(self) -> str:
        return "pixels, as bytes" if self._of_bytes else f"pixels; {self.range} become 0 and 1"

    @property
    def _of_bytes(self) -> bool:
        return self.range in (None, (0.0, 255.0))

    def traced_input(self, count: int) -> Tensor:
        shape = count, self.channels, self.size, self.size
        if self._of_bytes:
            return torch.randint(0, 256, shape, dtype=torch.uint8)
        low, high = self.range or (0.0, 1.0)
        return low + (high - low) * torch.rand(shape)

    def traced(self, samples: Tensor) -> Tokens:
        low, high = (0.0, 255.0) if self._of_bytes else self.range or (0.0, 1.0)
        return self.cut((samples.float() - low) / (high - low))

    def cut(self, images: Tensor) -> Tokens:
        """Images that are scaled already (see `to_float`), normalised and cut into patches.

        What is left over at the right and the bottom is cropped, centred.
        """
        self._check(images)
        mean, std = (images.new_tensor(v).view(-1, 1, 1) for v in (self.mean, self.std))
        images = (images - mean) / std
        rows, columns = images.shape[2] // self.patch, images.shape[3] // self.patch
        top, left = (images.shape[2] - rows * self.patch) // 2, (images.shape[3] - columns * self.patch) // 2
        images = images[:, :, top : top + rows * self.patch, left : left + columns * self.patch]
        return Tokens(
            patches(images, self.patch), grid_positions(rows, columns, images.device), (rows, columns)
        )

    def _check(self, batch: Tensor) -> None:
        if batch.dim() != 4 or batch.shape[1] != self.channels:
            raise UserError(
                f"a batch of shape {list(batch.shape)} is not [B, {self.channels}, H, W]: "
                f"set signal.channels to the images' channels"
            )
        if min(batch.shape[2:]) < self.patch:
            raise UserError(
                f"images of {batch.shape[2]}x{batch.shape[3]} px are smaller than a patch of {self.patch} px: "
                f"use a smaller signal.patch"
            )

    def fold(self, tokens: Tokens) -> Tensor:
        """The inverse: normalised images `[B, C, H, W]` from patches that fill a grid."""
        assert tokens.layout is not None and len(tokens.layout) == 2
        rows, columns = tokens.layout
        patches = tokens.values.view(-1, rows, columns, self.channels, self.patch, self.patch)
        return patches.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)

    def planes(self, tokens: Tokens) -> Tensor:
        """What convolutions over rows and columns see: the images."""
        return self.fold(tokens)

    def restored(self, tokens: Tokens) -> Tensor:
        """Images `[B, C, H, W]` in the units of the training images, of their patches."""
        low, high = self.range or (0.0, 1.0)
        return low + self.scaled(tokens).clamp(0, 1) * (high - low)

    def scaled(self, tokens: Tokens) -> Tensor:
        """Images `[B, C, H, W]` in about 0..1, as `to_float` gives them, of their patches."""
        images = self.fold(tokens).float()
        mean, std = (images.new_tensor(v).view(-1, 1, 1) for v in (self.mean, self.std))
        return images * std + mean

    def lit(self, image: Tensor) -> Tensor:
        """Of an image in about 0..1, what is shown of it."""
        return image

    def picture(self, batch: Tensor, row: int, marks: Marks | None = None) -> Picture:
        """The image; its patches hidden, outlined, or in colours, as `marks` say."""
        image = pictures.to_rgb(self.lit(scale(batch[row], self.range).cpu()).numpy())
        if marks is None:
            return Picture(image)
        grid = marks.layout or (image.shape[0] // self.patch, image.shape[1] // self.patch)
        if marks.colour is not None:
            cells = marks.colour.reshape(*grid, 3)
            return Picture(pictures.smooth(cells, COLOURED), smooth=True)
        if marks.error is not None:
            return Picture(pictures.heat(image, marks.error.reshape(grid)))
        drawing = "" if marks.blocks is None else pictures.outlines(marks.blocks.reshape(-1, *grid))
        if marks.hidden is None:
            return Picture(image, drawing)
        return Picture(
            pictures.only(image, ~marks.hidden.reshape(grid), pictures.FAINT if marks.faint else 0), drawing
        )


def patches(images: Tensor, patch: int) -> Tensor:
    """`[B, C, H, W]` of whole patches to `[B, N, C * patch * patch]`, in row order."""
    cells = images.unflatten(2, (-1, patch)).unflatten(4, (-1, patch))
    return cells.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def grid_positions(rows: int, columns: int, device: torch.device | None = None) -> Tensor:
    """`[1, rows * columns, 2]`: (row, column) in row order."""
    axes = (torch.arange(n, device=device, dtype=torch.float32) for n in (rows, columns))
    return torch.cartesian_prod(*axes).view(1, -1, 2)

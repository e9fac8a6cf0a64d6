"""Images from numpy arrays and torch tensors, and from .npy and .npz files of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from openjepa.common.contents import Contents, of_array, of_files
from openjepa.errors import UserError
from openjepa.signals.images.decode import PictureHeader, fit, recolour
from openjepa.signals.images.image_set import ImageSet, LoadedImages, build, fits_in_memory, settle, shrinkage
from openjepa.signals.images.values import Kept, kind_of, stored, to_tensor, together
from openjepa.signals.readers.arrays import read_array_file

PART = 2**22
"""Values of an array that are converted together."""
LOOKED_AT = 256
"""Images of a large array whose values decide how all are kept."""
FEW = 4
"""Channels that an image has at most where the shape alone shows which axis they are on."""


class ArraySource:
    """An array, converted part by part."""

    threaded = True

    def __init__(self, images: np.ndarray | Tensor, axis: int, labels: np.ndarray | None) -> None:
        self.images, self.axis, self.labels, self.surveyed = images, axis, labels, 1
        self.kind: Kept = "bytes"

    def __len__(self) -> int:
        return len(self.images)

    def name(self, row: int) -> str:
        return f"image {row}"

    def inspect(self, row: int) -> PictureHeader:
        channels, height, width = self.tensor(row, row + 1).shape[1:]
        return PictureHeader(height, width, channels, self.kind)

    def decode(self, row: int, size: tuple[int, int], channels: int) -> Tensor:
        return fit(recolour(stored(self.tensor(row, row + 1), self.kind), channels), size)[0]

    def tensor(self, first: int, end: int) -> Tensor:
        """Some of the images, `[n, C, H, W]`."""
        part = to_tensor(self.images[first:end], first)
        return part[:, None] if part.dim() == 3 else part.movedim(self.axis, 1)

    def parts(self) -> Iterator[tuple[int, int]]:
        """Bounds of parts of a size that is quick to convert."""
        step = max(1, PART // max(1, int(np.prod(self.images.shape[1:]))))
        return ((i, min(i + step, len(self))) for i in range(0, len(self), step))

    def contents(self) -> Contents:
        if isinstance(self.images, np.memmap) and self.images.filename:
            path = Path(self.images.filename)
            return of_files([(path.name, path)])
        return of_array(self.images)


def open_arrays(
    images: np.ndarray | Tensor, labels: Any, size: int | None, channels: int | None, name: str = "array"
) -> ImageSet:
    """Images `[N, H, W]`, `[N, H, W, C]` or `[N, C, H, W]` of any whole numbers or floats; labels `[N]`, -1 for none.

    Raises:
        UserError: another shape or type, NaN, or labels that do not go with the images.
    """
    shape = tuple(images.shape)
    if shape[:1] == (0,):
        raise UserError(f"{name}: it holds no images")
    _check_shape(shape, name)
    axis = channel_axis(shape, channels, "first" if isinstance(images, Tensor) else "last", name)
    classes, numbers = _labels(labels, len(images), name)
    source = ArraySource(images, axis, numbers)
    header = source.inspect(0)
    hw, wanted = settle([header], size, channels)
    _check_channels(header.channels, wanted, name)
    held = fits_in_memory(len(images), hw, wanted, "numbers")
    every = np.linspace(0, len(images) - 1, min(LOOKED_AT, len(images))).astype(int).tolist()
    looked_at = source.parts() if held else ((row, row + 1) for row in every)
    source.kind = together(kind_of(source.tensor(*part)) for part in looked_at)
    if not held and not fits_in_memory(len(images), hw, wanted, source.kind):
        return build(name, source, size=size, channels=channels, classes=classes)
    pixels = torch.cat(
        [fit(recolour(stored(source.tensor(*part), source.kind), wanted), hw) for part in source.parts()]
    )
    (shrunk,) = shrinkage(hw, [header])
    return ImageSet(name, LoadedImages(pixels), labels=numbers, classes=classes, shrunk=shrunk)


def _check_shape(shape: tuple[int, ...], name: str = "images") -> None:
    if len(shape) not in (3, 4) or 0 in shape:
        raise UserError(
            f"{name}: images of shape {shape} are none: give [N, H, W], [N, H, W, C] or [N, C, H, W]"
        )


def _check_channels(given: int, wanted: int, name: str) -> None:
    if given != wanted and {given, wanted} != {1, 3}:
        raise UserError(
            f"{name}: images of {given} channels where {wanted} are wanted: give images of {wanted}"
        )


def channel_axis(
    shape: tuple[int, ...], channels: int | None, habit: Literal["first", "last"], name: str = "images"
) -> int:
    """Where the channels of an array `[N, a, b, c]` are: 1 for `[N, C, H, W]`, 3 for `[N, H, W, C]`.

    The channels are the axis, of a and c, that differs from the two others where these are equal (images are square),
    and the one that is 4 or less where the other is more. Where these disagree, or neither says anything, it is the
    axis with as many as `channels`, and where both have as many, what is usual for such an array, its `habit`.

    Raises:
        UserError: it cannot be told.
    """
    if len(shape) == 3:
        return 1
    _, a, b, c = shape
    said = {
        axis for axis, so in ((1, b == c != a), (3, a == b != c), (1, a <= FEW < c), (3, c <= FEW < a)) if so
    }
    if len(said) == 1:
        return said.pop()
    named = [axis for axis, count in ((1, a), (3, c)) if count == channels]
    if named:
        return named[0] if len(named) == 1 else {"first": 1, "last": 3}[habit]
    raise UserError(
        f"{name}: images of shape {shape} may have {a} channels ([N, C, H, W]) or {c} ([N, H, W, C]): say which with "
        f"--signal.channels, in Python channels={a} or channels={c}"
    )


def to_pixels(images: np.ndarray | Tensor, first: int = 0) -> Tensor:
    """uint8 `[N, C, H, W]` of frames, whole numbers in 0..255 or floats in 0..1, which begin at number `first`.

    Raises:
        UserError: another shape, type or range.
    """
    _check_shape((1, *images.shape[1:]))
    axis = channel_axis(tuple(images.shape), None, "first" if isinstance(images, Tensor) else "last")
    x = to_tensor(images, first)
    x = x[:, None] if x.dim() == 3 else x.movedim(axis, 1)
    if x.dtype == torch.uint8 or x.numel() == 0:
        return x.to(torch.uint8)
    low, high = (float(v) for v in x.aminmax())
    if low < 0 or high > 1:
        raise UserError(
            f"images have values from {low:g} to {high:g}: integers must lie in 0..255 and floats in 0..1; "
            "rescale them, and leave normalisation to the model"
        )
    return (x * 255).round().to(torch.uint8)


def _labels(labels: Any, count: int, name: str) -> tuple[list[str] | None, np.ndarray | None]:
    """Class names (for labels that are text) and label numbers."""
    if labels is None:
        return None, None
    try:
        values = np.asarray(labels)
    except ValueError:
        raise UserError(
            f"{name}: its labels are lists of several lengths: give one label per image"
        ) from None
    if values.shape != (count,):
        raise UserError(
            f"{name}: labels have shape {values.shape} for {count} images: give one label per image"
        )
    if values.dtype.kind in "US":
        classes, numbers = np.unique(values.astype(str), return_inverse=True)
        return classes.tolist(), numbers.astype(np.int64)
    if values.dtype.kind not in "iub":
        raise UserError(f"{name}: labels are of type {values.dtype}: give whole numbers or names")
    return None, values.astype(np.int64)


def open_array_file(path: Path, split: str, size: int | None, channels: int | None) -> ImageSet:
    """Images and labels of a `.npy` or `.npz` file (see `readers.arrays.read_array_file`)."""
    with read_array_file(path, split) as found:
        images = open_arrays(found.samples, found.labels, size, channels, str(path))
    images.splits = found.splits
    return images

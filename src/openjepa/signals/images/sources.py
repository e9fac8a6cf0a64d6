"""Images from folders and torch data sets."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from torch import Tensor

from openjepa.common.contents import Contents
from openjepa.common.reach import regular
from openjepa.errors import UserError
from openjepa.signals.images.arrays import channel_axis
from openjepa.signals.images.decode import PictureHeader, decode, fit, from_pil, header_of, inspect, recolour
from openjepa.signals.images.image_set import ImageSet, build
from openjepa.signals.images.values import kind_of, to_tensor
from openjepa.signals.readers.folders import FolderFiles, list_folder
from openjepa.signals.readers.shards import TarFiles, Wanted, read_shards

SHARDED = Wanted(frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"}), "an image", "images")
SUFFIXES = SHARDED.suffixes | {".gif", ".tif", ".tiff", ".ppm"}
"""Of single files that are opened as images."""
_PEEK = 64  # items of a torch data set that are looked at before it is read


class EncodedImages:
    """Encoded images; a subclass says where each one's bytes are."""

    labels: np.ndarray | None
    threaded = True

    @property
    def surveyed(self) -> int:
        """All: their headers are cheap."""
        return len(self)

    def __len__(self) -> int:
        raise NotImplementedError

    def file(self, row: int) -> Path | BinaryIO:
        """What Pillow can open."""
        raise NotImplementedError

    def contents(self) -> Contents:
        """A checksum over the files that hold them."""
        raise NotImplementedError

    def inspect(self, row: int) -> PictureHeader:
        return inspect(self.file(row))

    def decode(self, row: int, size: tuple[int, int], channels: int) -> Tensor:
        return decode(self.file(row), size, channels)


class FolderSource(FolderFiles, EncodedImages):
    """Images below a folder."""


def open_folder(root: Path, split: str, size: int | None, channels: int | None) -> ImageSet:
    """Images anywhere below a folder, labelled by its first-level sub-folders (see `readers.folders.list_folder`)."""
    found = list_folder(root, split)
    source = FolderSource(found.folder, found.names, found.labels)
    return build(
        str(root),
        source,
        size=size,
        channels=channels,
        classes=found.classes,
        splits=found.splits,
        skipped=found.skipped,
        key=lambda row: f"{found.inside}{source.name(row)}",
    )


def open_file(path: Path, size: int | None, channels: int | None) -> ImageSet:
    """One image."""
    source = FolderSource(regular(path).parent, [path.name], None)
    return build(str(path), source, size=size, channels=channels, key=source.name)


class ShardSource(TarFiles, EncodedImages):
    """Images in tar shards."""


def open_shards(
    name: str, shards: Sequence[Path], split: str, size: int | None, channels: int | None
) -> ImageSet:
    """Images and labels of shards, `key.jpg` (or png, webp, bmp) and `key.cls` (see `readers.shards.read_shards`)."""
    splits, places, index = read_shards(name, shards, split, SHARDED)
    source = ShardSource(places, index)
    skipped, key = index.skipped, source.name
    return build(name, source, size=size, channels=channels, splits=splits, skipped=skipped, key=key)


class DatasetSource:
    """A torch map-style data set of images (Pillow or tensor), or of tuples that begin with an image and a label."""

    threaded = False  # the user's code may share a file handle

    def __init__(self, dataset: Any, channels: int | None) -> None:
        self.dataset, self.channels, self.surveyed = dataset, channels, min(len(dataset), _PEEK)
        targets = getattr(dataset, "targets", None)
        self.known = targets is not None and len(targets) == len(dataset)
        self._labels = np.asarray(targets, np.int64) if self.known else np.full(len(dataset), -1, np.int64)

    @property
    def labels(self) -> np.ndarray | None:
        """The set's `targets`, else the labels that came with the images that were read; -1 marks unknown."""
        return None if (self._labels < 0).all() else self._labels

    def __len__(self) -> int:
        return len(self.dataset)

    def name(self, row: int) -> str:
        return f"item {row}"

    def inspect(self, row: int) -> PictureHeader:
        image = self._image(row)
        if isinstance(image, Image.Image):
            return header_of(image)
        return PictureHeader(image.shape[1], image.shape[2], image.shape[0], kind_of(image))

    def decode(self, row: int, size: tuple[int, int], channels: int) -> Tensor:
        image = self._image(row)
        if isinstance(image, Image.Image):
            return from_pil(image, size, channels)
        return fit(recolour(image, channels), size)

    def contents(self) -> None:
        """Nothing short of reading all items."""

    def _image(self, row: int) -> Image.Image | Tensor:
        item = self.dataset[row]
        if isinstance(item, tuple | list):
            if len(item) > 1 and self._labels[row] < 0 and np.ndim(item[1]) == 0:
                self._labels[row] = int(item[1])
            item = item[0]
        if isinstance(item, Image.Image):
            return item
        if isinstance(item, Tensor | np.ndarray):
            return self._tensor(item, row)
        raise UserError(
            f"item {row} of the data set holds a {type(item).__name__}: allowed are Pillow images, tensors [C, H, W], "
            "and (image, label) of these"
        )

    def _tensor(self, item: Tensor | np.ndarray, row: int) -> Tensor:
        """`[C, H, W]`; where the shape does not say which axis the channels are, as is usual."""
        if item.ndim not in (2, 3) or 0 in item.shape:
            raise UserError(
                f"item {row} of the data set has shape {tuple(item.shape)}: give [H, W], [C, H, W] or [H, W, C]"
            )
        image = to_tensor(item[None], row)
        if item.ndim == 2:
            return image
        first = isinstance(item, Tensor)
        usual = item.shape[0] if first else item.shape[2]
        axis = channel_axis(image.shape, self.channels or usual, "first" if first else "last")
        return image.movedim(axis, 1)[0]


def open_dataset(dataset: Any, size: int | None, channels: int | None) -> ImageSet:
    """A torch data set; without `size` the first items decide (one size: that; several: 224)."""
    if len(dataset) == 0:
        raise UserError("the data set is empty")
    name = type(dataset).__name__
    source = DatasetSource(dataset, channels)
    found = build(name, source, size=size, channels=channels, classes=getattr(dataset, "classes", None))
    if found.labels is not None and not source.known and (found.labels.values < 0).any():
        found.labels = None  # too many to read through
    return found

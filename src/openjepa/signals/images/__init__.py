"""Images: Fashion-MNIST, any folder of images, tar shards, arrays and torch data sets, as pixels of one size."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from openjepa.errors import UserError
from openjepa.signals.images.arrays import open_array_file, open_arrays
from openjepa.signals.images.fashion_mnist import holds, open_fashion_mnist
from openjepa.signals.images.image_set import ImageSet
from openjepa.signals.images.sources import SUFFIXES, open_dataset, open_file, open_folder, open_shards
from openjepa.signals.readers.shards import find_shards
from openjepa.signals.readers.skipped import Skipped
from openjepa.signals.readers.splits import pick_split

__all__ = ["ImageSet", "Skipped", "open_images"]


def open_images(
    data: Any = None, *, split: str = "train", size: int | None = None, channels: int | None = None
) -> ImageSet:
    """Open a set of images.

    Args:
        data: one of
            `None` or `"fashion-mnist"`: Fashion-MNIST, downloaded if need be;
            a folder of images of any sizes and modes, labelled by its first-level sub-folders (images beside these have
            no label, -1); `train`, `test` and `val` sub-folders are splits;
            a `.tar`, `.tar.gz` or `.tgz` shard of `key.jpg` and `key.cls`, a glob pattern, or a folder of shards,
            whose names begin with their split;
            a single image; a `.npy` or `.npz` file; an array or tensor of images, or a pair of these and labels;
            a torch map-style data set of images or of (image, label).
        split: `train`, `test` or `val`. A set without splits is all `train`; `val` stands in for a missing `test`.
        size: height and width of the images: the short side is resized, then the centre is cropped. `None`: the
            size that all images share, else 224.
        channels: `None`: as many as the images have (1 if all are grey, 3 if some are). Grey becomes colour and colour
            grey, no other number becomes another. Of an array whose shape does not tell (see `channel_axis`) it says
            which axis the channels are on.

    Raises:
        UserError: nothing is there, nothing in it is readable, it lacks the split, or an argument is out of range.
    """
    if size is not None and size < 1:
        raise UserError(f"size={size}: the images' height and width must be at least 1 pixel")
    if channels is not None and channels < 1:
        raise UserError(f"channels={channels}: an image has at least 1")
    if data is None or (isinstance(data, str) and data == "fashion-mnist"):
        return open_fashion_mnist(split, size, channels)
    if isinstance(data, str) and not data:
        raise UserError("the data have an empty name: give a path, or None for Fashion-MNIST")
    if isinstance(data, str | Path):
        return _open_path(Path(data).expanduser(), split, size, channels)
    pick_split("this data", ("train",), split)
    if isinstance(data, np.ndarray | Tensor):
        return open_arrays(data, None, size, channels)
    if isinstance(data, tuple) and len(data) == 2 and isinstance(data[0], np.ndarray | Tensor):
        return open_arrays(data[0], data[1], size, channels)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return open_dataset(data, size, channels)
    raise UserError(
        f"images cannot be read from a {type(data).__name__}: give a path, an array, a pair (images, labels) or a "
        "map-style data set"
    )


def _open_path(path: Path, split: str, size: int | None, channels: int | None) -> ImageSet:
    if path.is_dir() and holds(path):
        return open_fashion_mnist(split, size, channels, folder=path)
    if shards := find_shards(path):
        return open_shards(str(path), shards, split, size, channels)
    if path.is_dir():
        return open_folder(path, split, size, channels)
    if path.suffix in (".npy", ".npz") and path.is_file():
        return open_array_file(path, split, size, channels)
    if path.suffix.lower() in SUFFIXES and path.is_file():
        pick_split(str(path), ("train",), split)
        return open_file(path, size, channels)
    if path.exists():
        raise UserError(
            f"{path} is neither a folder nor an image nor a .tar, .tar.gz, .tgz, .npy or .npz file: name one of these"
        )
    raise UserError(
        f"{path} does not exist: give a folder of images, tar shards, arrays, or the name fashion-mnist"
    )

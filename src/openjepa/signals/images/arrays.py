"""Images from numpy arrays and torch tensors, and from .npy and .npz files of them."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from openjepa.contents import Contents, of_array, of_files
from openjepa.errors import UserError
from openjepa.signals.images.decode import Header, fit, recolour
from openjepa.signals.images.image_set import Held, ImageSet, build, fits_in_memory, settle
from openjepa.signals.images.splits import SPLITS, pick_split

_IMAGES = ("x", "images", "data", "arr_0")
_LABELS = ("y", "labels", "targets", "arr_1")


class ArraySource:
    """An array too large to copy (say, memory-mapped), converted image by image."""

    threaded = True

    def __init__(self, images: np.ndarray | Tensor, labels: np.ndarray | None) -> None:
        self.images, self.labels, self.surveyed = images, labels, 1

    def __len__(self) -> int:
        return len(self.images)

    def name(self, row: int) -> str:
        return f"image {row}"

    def inspect(self, row: int) -> Header:
        pixels = to_pixels(self.images[row : row + 1], row)
        return Header(pixels.shape[2], pixels.shape[3], pixels.shape[1] <= 2)

    def decode(self, row: int, size: tuple[int, int], channels: int) -> Tensor:
        return fit(recolour(to_pixels(self.images[row : row + 1], row), channels), size)[0]

    def contents(self) -> Contents:
        if isinstance(self.images, np.memmap) and self.images.filename:
            path = Path(self.images.filename)
            return of_files([(path.name, path)])
        return of_array(self.images)


def open_arrays(
    images: np.ndarray | Tensor, labels: Any, size: int | None, channels: int | None, name: str = "array"
) -> ImageSet:
    """Images `[N, H, W]`, `[N, H, W, C]` or `[N, C, H, W]`, integers in 0..255 or floats in 0..1; labels `[N]`."""
    if len(images) == 0:
        raise UserError(f"{name}: it holds no images")
    classes, numbers = _labels(labels, len(images), name)
    source = ArraySource(images, numbers)
    header = source.inspect(0)
    hw, channels = settle([header], size, channels)
    if not fits_in_memory(len(images), hw, channels):
        return build(name, source, size=size, channels=channels, classes=classes)
    chunks = ((images[i : i + 1024], i) for i in range(0, len(images), 1024))
    pixels = torch.cat([fit(recolour(to_pixels(*chunk), channels), hw) for chunk in chunks])
    return ImageSet(name, Held(pixels), labels=numbers, classes=classes)


def to_pixels(images: np.ndarray | Tensor, first: int = 0) -> Tensor:
    """uint8 `[N, C, H, W]` of a part of a user's array, which begins at image `first`.

    Raises:
        UserError: another shape, type or range.
    """
    x = images if isinstance(images, Tensor) else torch.from_numpy(np.array(images))
    if x.ndim == 3:
        x = x[:, None]
    elif x.ndim == 4 and x.shape[-1] <= 4 and (x.shape[1] > 4 or not isinstance(images, Tensor)):
        x = x.permute(0, 3, 1, 2)
    if x.ndim != 4 or not 1 <= x.shape[1] <= 4:
        raise UserError(
            f"images have shape {tuple(images.shape)}: allowed are [N, H, W], [N, H, W, C] and [N, C, H, W], C = 1 to 4"
        )
    if x.dtype == torch.uint8:
        return x
    bad = (~x.isfinite().flatten(1).all(1)).nonzero().flatten().add(first).tolist()
    if bad:
        shown = ", ".join(map(str, bad[:8])) + (f", ... ({len(bad)})" if len(bad) > 8 else "")
        raise UserError(f"images {shown} hold values that are NaN or infinite: mend or remove them")
    low, high = float(x.min()), float(x.max())
    top = 1 if x.is_floating_point() else 255
    if low < 0 or high > top:
        raise UserError(
            f"images have values from {low:g} to {high:g}: integers must lie in 0..255 and floats in 0..1; "
            "rescale them, and leave normalisation to the model"
        )
    return (x * 255).round().to(torch.uint8) if top == 1 else x.to(torch.uint8)


def _labels(labels: Any, count: int, name: str) -> tuple[list[str] | None, np.ndarray | None]:
    """Class names (for labels that are text) and label numbers."""
    if labels is None:
        return None, None
    values = np.asarray(labels)
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
    """`.npy`: images, memory-mapped. `.npz`: `x` and, if labelled, `y`; or `x_train`, `y_train`, `x_test`, `y_test`.

    The names `images` and `data`, `labels` and `targets`, also before (`train_images`) or after the split, are
    understood too. Pickled objects are never loaded.
    """
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            pick_split(str(path), ("train",), split)
            return open_arrays(loaded, None, size, channels, str(path))
        with loaded:
            return _open_npz(path, loaded, split, size, channels)
    except UserError:
        raise
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not a readable numpy file of plain numbers ({error})") from None


def _open_npz(path: Path, loaded: Any, split: str, size: int | None, channels: int | None) -> ImageSet:
    def key(names: tuple[str, ...], part: str) -> str | None:
        wanted = names if not part else [f for n in names for f in (f"{n}_{part}", f"{part}_{n}")]
        return next((name for name in wanted if name in loaded), None)

    parts = [part for part in SPLITS if key(_IMAGES, part)]
    split = pick_split(str(path), parts or ("train",), split)
    part = split if parts else ""
    images, labels = key(_IMAGES, part), key(_LABELS, part)
    if images is None:
        raise UserError(f"{path} holds {', '.join(loaded)}: name the images 'x' and their labels 'y'")
    found = open_arrays(
        loaded[images], None if labels is None else loaded[labels].reshape(-1), size, channels, str(path)
    )
    found.splits = tuple(parts) or ("train",)
    return found

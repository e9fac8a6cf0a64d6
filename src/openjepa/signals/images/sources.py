"""Images from folders and torch data sets."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from torch import Tensor

from openjepa.contents import Contents, of_files
from openjepa.errors import UserError
from openjepa.signals.images.arrays import to_pixels
from openjepa.signals.images.decode import Header, decode, fit, from_pil, header_of, inspect, recolour
from openjepa.signals.images.image_set import ImageSet, Skipped, build
from openjepa.signals.images.splits import SPLITS, pick_split

_PEEK = 64  # items of a torch data set that are looked at before it is read


class Encoded:
    """Encoded images; a subclass says where each one's bytes are."""

    labels: np.ndarray | None
    surveyed: int
    threaded = True

    def file(self, row: int) -> Path | BinaryIO:
        """What Pillow can open."""
        raise NotImplementedError

    def contents(self) -> Contents:
        """Of the files that hold them."""
        raise NotImplementedError

    def inspect(self, row: int) -> Header:
        return inspect(self.file(row))

    def decode(self, row: int, size: tuple[int, int], channels: int) -> Tensor:
        return decode(self.file(row), size, channels)


class Names:
    """Many strings in one buffer: a list of a million would be copied, page by page, into every forked worker."""

    def __init__(self, names: Sequence[str]) -> None:
        encoded = [os.fsencode(name) for name in names]
        self._text, self._ends = b"".join(encoded), np.cumsum([0, *map(len, encoded)])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, row: int) -> str:
        return os.fsdecode(self._text[self._ends[row] : self._ends[row + 1]])


class FolderSource(Encoded):
    """Files below `root`."""

    def __init__(self, root: Path, names: Sequence[str], labels: np.ndarray | None) -> None:
        self.root, self.names, self.labels, self.surveyed = root, Names(names), labels, len(names)

    def __len__(self) -> int:
        return len(self.names)

    def name(self, row: int) -> str:
        return self.names[row]

    def file(self, row: int) -> Path:
        return self.root / self.names[row]

    def contents(self) -> Contents:
        return of_files((self.names[row], self.root / self.names[row]) for row in range(len(self)))


def open_folder(root: Path, split: str, size: int | None, channels: int | None) -> ImageSet:
    """Images anywhere below a folder, labelled by its first-level sub-folders.

    `train`, `test` and `val` sub-folders are splits. In a labelled folder, files beside the class folders have no
    label and are skipped; a folder without sub-folders is not labelled.
    """
    parts = {s: root / alias for s, aliases in SPLITS.items() for alias in aliases if (root / alias).is_dir()}
    if "train" not in parts and not set(_subfolders(root)) <= {path.name for path in parts.values()}:
        parts = {}  # a class that happens to be called "test"
    splits = tuple(parts) or ("train",)
    folder = parts.get(pick_split(str(root), splits, split), root)
    classes = sorted({name for part in parts.values() or [root] for name in _subfolders(part)})
    names, skipped = sorted(_walk(folder)), []
    labels = None
    if any("/" in name for name in names):
        skipped = [
            Skipped(name, "no label: it lies beside the class folders") for name in names if "/" not in name
        ]
        names = [name for name in names if "/" in name]
        number = {name: i for i, name in enumerate(classes)}
        labels = np.array([number[name.split("/", 1)[0]] for name in names], dtype=np.int64)
    source = FolderSource(folder, names, labels)
    return build(
        str(root),
        source,
        size=size,
        channels=channels,
        classes=None if labels is None else classes,
        splits=splits,
        skipped=skipped,
    )


def _subfolders(folder: Path) -> list[str]:
    """Visible sub-folders that are not empty."""
    return [
        path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != "." and os.listdir(path)
    ]


def _walk(root: Path) -> Iterator[str]:
    """Visible files below a folder, by relative path with `/`; links are followed, circles are not."""
    seen = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        seen.add(os.path.realpath(folder))
        subfolders[:] = [
            s for s in subfolders if s[0] != "." and os.path.realpath(f"{folder}/{s}") not in seen
        ]
        inside = Path(folder).relative_to(root)
        yield from ((inside / file).as_posix() for file in files if file[0] != ".")


class DatasetSource:
    """A torch map-style data set of images (Pillow or tensor), or of tuples that begin with an image and a label."""

    threaded = False  # the user's code may share a file handle

    def __init__(self, dataset: Any) -> None:
        self.dataset, self.surveyed = dataset, min(len(dataset), _PEEK)
        targets = getattr(dataset, "targets", None)
        known = targets is not None and len(targets) == len(dataset)
        self._labels = np.asarray(targets, dtype=np.int64) if known else np.full(len(dataset), -1, np.int64)

    @property
    def labels(self) -> np.ndarray | None:
        """The set's `targets`, else the labels that came with the images once all are read; -1 marks unknown."""
        return None if (self._labels < 0).all() else self._labels

    def __len__(self) -> int:
        return len(self.dataset)

    def name(self, row: int) -> str:
        return f"item {row}"

    def inspect(self, row: int) -> Header:
        image = self._image(row)
        if isinstance(image, Image.Image):
            return header_of(image)
        return Header(image.shape[1], image.shape[2], image.shape[0] <= 2)

    def decode(self, row: int, size: tuple[int, int], channels: int) -> Tensor:
        image = self._image(row)
        return (
            from_pil(image, size, channels)
            if isinstance(image, Image.Image)
            else fit(recolour(image, channels), size)
        )

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
            return to_pixels(item[None] if item.ndim == 3 else item[None, None])[0]
        raise UserError(
            f"item {row} of the data set holds a {type(item).__name__}: allowed are Pillow images, tensors [C, H, W], "
            "and (image, label) of these"
        )


def open_dataset(dataset: Any, size: int | None, channels: int | None) -> ImageSet:
    """A torch data set; without `size` the first items decide (one size: that; several: 224)."""
    if len(dataset) == 0:
        raise UserError("the data set is empty")
    name = type(dataset).__name__
    return build(
        name, DatasetSource(dataset), size=size, channels=channels, classes=getattr(dataset, "classes", None)
    )

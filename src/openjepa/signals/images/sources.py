"""Images from folders and torch data sets."""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from torch import Tensor

from openjepa.common.contents import Contents, of_files
from openjepa.common.reach import inside
from openjepa.errors import UserError
from openjepa.signals.images.arrays import channel_axis
from openjepa.signals.images.decode import Header, decode, fit, from_pil, header_of, inspect, recolour
from openjepa.signals.images.image_set import ImageSet, Skipped, build
from openjepa.signals.images.splits import SPLITS, pick_split
from openjepa.signals.images.values import kind_of, to_tensor

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
    label (-1); a folder without sub-folders is not labelled.
    """
    parts = {s: root / alias for s, aliases in SPLITS.items() for alias in aliases if (root / alias).is_dir()}
    if "train" not in parts and not set(_subfolders(root)) <= {path.name for path in parts.values()}:
        parts = {}  # a class that happens to be called "test"
    splits = tuple(parts) or ("train",)
    folder = parts.get(pick_split(str(root), splits, split), root)
    classes = sorted({name for part in parts.values() or [root] for name in _subfolders(part)})
    skipped: list[Skipped] = []
    names = sorted(_walk(folder, skipped))
    labels = None
    if any("/" in name for name in names):
        number = {name: i for i, name in enumerate(classes)}
        labels = np.array(
            [number[name.split("/", 1)[0]] if "/" in name else -1 for name in names], dtype=np.int64
        )
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


def _walk(root: Path, skipped: list[Skipped]) -> Iterator[str]:
    """Visible ordinary files below a folder, by relative path with `/`, sorted.

    Links are followed, but not in circles and not out of the folder; what is left out is added to `skipped`.
    """
    seen, top = set(), os.path.realpath(root)

    def allowed(name: str) -> bool:
        try:
            inside(root, name)
        except UserError as error:
            skipped.append(Skipped(name, str(error).removeprefix(f"{root / name} ").removeprefix("is ")))
            return False
        return True

    def within(path: str) -> bool:
        return os.path.commonpath([top, os.path.realpath(path)]) == top

    for folder, subfolders, files in os.walk(root, followlinks=True):
        seen.add(os.path.realpath(folder))
        here = Path(folder).relative_to(root)
        subfolders[:] = [
            s for s in subfolders if s[0] != "." and os.path.realpath(f"{folder}/{s}") not in seen
        ]
        plain = within(folder)
        for file in files:
            name = (here / file).as_posix()
            if file[0] != "." and ((plain and _is_plain(f"{folder}/{file}")) or allowed(name)):
                yield name


def _is_plain(path: str) -> bool:
    """Whether it is an ordinary file, and no link."""
    return stat.S_ISREG(os.lstat(path).st_mode)


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

    def inspect(self, row: int) -> Header:
        image = self._image(row)
        if isinstance(image, Image.Image):
            return header_of(image)
        return Header(image.shape[1], image.shape[2], image.shape[0], kind_of(image))

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
    if found.labels is not None and not source.known and (found.labels < 0).any():
        found.labels = None  # too many to read through
    return found

"""Folders of files: which belong to a split, and which class each is of."""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from openjepa.common.contents import Contents, of_files
from openjepa.common.reach import inside
from openjepa.errors import UserError
from openjepa.signals.readers.skipped import Skipped
from openjepa.signals.readers.splits import SPLITS, pick_split


class Names:
    """Many strings in one buffer: a list of a million would be copied, page by page, into every forked worker."""

    def __init__(self, names: Sequence[str]) -> None:
        encoded = [os.fsencode(name) for name in names]
        self._text, self._ends = b"".join(encoded), np.cumsum([0, *map(len, encoded)])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, row: int) -> str:
        return os.fsdecode(self._text[self._ends[row] : self._ends[row + 1]])


class FolderFiles:
    """Files below `root`, by number."""

    def __init__(self, root: Path, names: Sequence[str], labels: np.ndarray | None) -> None:
        self.root, self.names, self.labels = root, Names(names), labels

    def __len__(self) -> int:
        return len(self.names)

    def name(self, row: int) -> str:
        return self.names[row]

    def file(self, row: int) -> Path:
        return self.root / self.names[row]

    def contents(self) -> Contents:
        return of_files((self.names[row], self.file(row)) for row in range(len(self)))


@dataclass(frozen=True)
class Listing:
    """One split of a folder.

    Attributes:
        folder: where the files are; `names` are relative to it.
        inside: what leads to it from the folder that was named: empty, or the split's sub-folder with a slash.
        labels: int64 `[N]`, the number of each file's first-level sub-folder in `classes`, -1 beside these; or `None`.
        splits: those that the folder offers.
        skipped: links that lead out of it.
    """

    folder: Path
    inside: str
    names: list[str]
    labels: np.ndarray | None
    classes: list[str] | None
    splits: tuple[str, ...]
    skipped: list[Skipped]

    def class_of(self, row: int) -> str | None:
        """The first-level sub-folder that a file lies in; `None` where there is none."""
        if self.labels is None or self.classes is None or self.labels[row] < 0:
            return None
        return self.classes[self.labels[row]]


def list_folder(root: Path, split: str) -> Listing:
    """Files anywhere below a folder, labelled by its first-level sub-folders.

    `train`, `test` and `val` sub-folders are splits. In a labelled folder, files beside the class folders have no
    label (-1); a folder without sub-folders is not labelled.

    Raises:
        UserError: there is no such split.
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
    inside = "" if folder == root else f"{folder.name}/"
    return Listing(folder, inside, names, labels, None if labels is None else classes, splits, skipped)


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
